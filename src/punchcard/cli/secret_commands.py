"""The commands under `punchcard secrets`: their options and help."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, example, load_existing_settings

secrets = typer.Typer(
    name="secrets",
    short_help="Replace the key that encrypts stored secrets.",
    epilog=example("punchcard secrets rotate", "punchcard secrets status", "punchcard secrets finish"),
    rich_markup_mode=None,
)


@secrets.command(
    short_help="Encrypt all stored secrets with a new key.",
    epilog=example("punchcard secrets rotate"),
)
def rotate(data: Data = None) -> int:
    """Encrypt all stored secrets with a new key, while Punchcard runs. The old key is accepted until `finish`.

    Repeat it after an interruption. With PUNCHCARD_SECRET_KEY, set the new key there and the old one in
    PUNCHCARD_SECRET_KEY_ACCEPTED first, on all machines.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.key_rotation import rotate_key

    return rotate_key(settings)


@secrets.command(
    short_help="Forget the old key once nothing is encrypted with it.",
    epilog=example("punchcard secrets finish"),
)
def finish(data: Data = None) -> int:
    """Forget the old key: encrypt what was saved with it since, and remove it once nothing needs it."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.key_rotation import finish_rotation

    return finish_rotation(settings)


@secrets.command(
    short_help="Show which key stored secrets are encrypted with.",
    epilog=example("punchcard secrets status", "punchcard secrets status --json"),
)
def status(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Data = None,
) -> int:
    """Show how many stored secrets have the current key, the other accepted key, or neither."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.key_rotation import show_key_usage

    return show_key_usage(settings, as_json=json)
