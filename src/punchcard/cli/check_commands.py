"""The commands `punchcard check` and `punchcard doctor`: their options and help."""

from typing import Annotated, Final, TypedDict

import typer

from punchcard.cli.options import ConfigFile, Data, Json, example, load_existing_settings


class Help(TypedDict):
    """The help of a command."""

    short_help: str
    epilog: str


HELP: Final[dict[str, Help]] = {
    "check": {
        "short_help": "Check configuration, storage and partners.",
        "epilog": example("punchcard check", "punchcard check --config punchcard.toml"),
    },
    "doctor": {
        "short_help": "Examine this machine and installation.",
        "epilog": example(
            "punchcard doctor", "punchcard doctor --data /var/lib/punchcard --partners", "punchcard doctor --json"
        ),
    },
}


def check(config: ConfigFile = None, json: Json = False, data: Data = None) -> int:
    """Check whether awards can be delivered: storage, configuration, and the settings of each destination.

    With --config, check a config file before it is applied.
    """
    from punchcard.cli.configuring import check_file, check_running

    if config is None:
        return check_running(load_existing_settings(data=data), as_json=json)
    return check_file(config, as_json=json)


def doctor(
    config: ConfigFile = None,
    partners: Annotated[
        bool, typer.Option("--partners", help="Also ask the partners whether they accept the credentials.")
    ] = False,
    json: Json = False,
    data: Data = None,
) -> int:
    """Examine whether Punchcard can run here, before it is installed, while it runs, or when it does not start.

    Looks at Python and packages, settings, disk, permissions, clock, secret key, TLS, storage, configuration, processes
    and port, and names what to do. Creates and changes nothing. Ends with 1 if there is a problem.
    """
    from punchcard.cli.examining import print_diagnoses

    return print_diagnoses(data=data, config=config, asks_partners=partners, as_json=json)
