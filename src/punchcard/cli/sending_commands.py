"""The commands under `punchcard send`: their options and help."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from punchcard.cli.options import DEFAULT_URL, Url
from punchcard.errors import ConfigurationError

if TYPE_CHECKING:
    from punchcard.cli.tracking_client import TrackingClient

sending = typer.Typer(rich_markup_mode=None)

UserId = Annotated[str | None, typer.Option(metavar="ID", help="Who did it: the id in your own database.")]
AnonymousId = Annotated[str | None, typer.Option(metavar="ID", help="Who did it, if you do not know the user.")]
MessageId = Annotated[
    str | None, typer.Option(metavar="ID", help="The event's own id; a fresh one is made if left out.")
]
Timestamp = Annotated[str | None, typer.Option(metavar="TIME", help="When it happened, ISO-8601; now if left out.")]
Properties = Annotated[
    str | None, typer.Option(metavar="JSON", help="What is known about it; numbers are sent digit by digit.")
]
Traits = Annotated[str | None, typer.Option(metavar="JSON", help="What is known about the person or group.")]
ContextJson = Annotated[
    str | None, typer.Option("--context", metavar="JSON", help='Its surroundings, e.g. {"traits": {"email": …}}.')
]
Integrations = Annotated[
    str | None, typer.Option(metavar="JSON", help='Where it may go, e.g. {"All": true, "Webhooks": false}.')
]


@dataclass(frozen=True)
class _Target:
    url: str
    write_key: str | None


@sending.callback()
def send(
    context: typer.Context,
    write_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Write key of the source that the event comes from.")
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Send events through the Tracking API and print their message ids, ready for `punchcard trace`."""
    context.obj = _Target(url, write_key)


def _call(name: str, *arguments: str) -> str:
    return "\n".join(["\b", "Example:", f"  punchcard send --write-key wk_website {' '.join([name, *arguments])}"])


@sending.command(epilog=_call("track", '"Checked In" --user-id ann --properties \'{"email": "ann@example.com"}\''))
def track(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help='The event\'s name, e.g. "Order Completed".')],
    user_id: UserId = None,
    anonymous_id: AnonymousId = None,
    properties: Properties = None,
    context_json: ContextJson = None,
    integrations: Integrations = None,
    message_id: MessageId = None,
    timestamp: Timestamp = None,
) -> None:
    """Send a track call: something a person did."""
    _send(
        context,
        "track",
        texts={
            "event": name,
            "userId": user_id,
            "anonymousId": anonymous_id,
            "messageId": message_id,
            "timestamp": timestamp,
        },
        objects={"properties": properties, "context": context_json, "integrations": integrations},
    )


@sending.command(epilog=_call("identify", '--user-id ann --traits \'{"email": "ann@example.com", "plan": "gold"}\''))
def identify(
    context: typer.Context,
    user_id: UserId = None,
    anonymous_id: AnonymousId = None,
    traits: Traits = None,
    context_json: ContextJson = None,
    integrations: Integrations = None,
    message_id: MessageId = None,
    timestamp: Timestamp = None,
) -> None:
    """Send an identify call: who a person is."""
    _send(
        context,
        "identify",
        texts={"userId": user_id, "anonymousId": anonymous_id, "messageId": message_id, "timestamp": timestamp},
        objects={"traits": traits, "context": context_json, "integrations": integrations},
    )


@sending.command(epilog=_call("page", 'Pricing --anonymous-id 7f3a --properties \'{"path": "/pricing"}\''))
def page(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The page's name.")] = None,
    user_id: UserId = None,
    anonymous_id: AnonymousId = None,
    properties: Properties = None,
    message_id: MessageId = None,
    timestamp: Timestamp = None,
) -> None:
    """Send a page call: a web page that a person saw."""
    texts = {"name": name, "userId": user_id, "anonymousId": anonymous_id, "messageId": message_id}
    _send(context, "page", texts={**texts, "timestamp": timestamp}, objects={"properties": properties})


@sending.command(epilog=_call("screen", "Home --user-id ann"))
def screen(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The screen's name.")] = None,
    user_id: UserId = None,
    anonymous_id: AnonymousId = None,
    properties: Properties = None,
    message_id: MessageId = None,
    timestamp: Timestamp = None,
) -> None:
    """Send a screen call: an app's screen that a person saw."""
    texts = {"name": name, "userId": user_id, "anonymousId": anonymous_id, "messageId": message_id}
    _send(context, "screen", texts={**texts, "timestamp": timestamp}, objects={"properties": properties})


@sending.command(epilog=_call("group", 'acme --user-id ann --traits \'{"name": "Acme"}\''))
def group(
    context: typer.Context,
    group_id: Annotated[str, typer.Argument(metavar="GROUP_ID", help="The group's id.")],
    user_id: UserId = None,
    anonymous_id: AnonymousId = None,
    traits: Traits = None,
    message_id: MessageId = None,
    timestamp: Timestamp = None,
) -> None:
    """Send a group call: the account that a person belongs to."""
    texts = {"groupId": group_id, "userId": user_id, "anonymousId": anonymous_id, "messageId": message_id}
    _send(context, "group", texts={**texts, "timestamp": timestamp}, objects={"traits": traits})


@sending.command(epilog=_call("alias", "ann --previous-id 7f3a"))
def alias(
    context: typer.Context,
    user_id: Annotated[str, typer.Argument(metavar="USER_ID", help="The id that stays.")],
    previous_id: Annotated[str, typer.Option(metavar="ID", help="The id that is the same person.")],
    message_id: MessageId = None,
    timestamp: Timestamp = None,
) -> None:
    """Send an alias call: two ids of one person."""
    texts = {"userId": user_id, "previousId": previous_id, "messageId": message_id, "timestamp": timestamp}
    _send(context, "alias", texts=texts, objects={})


@sending.command(short_help="Send the events of a small file.", epilog=_call("batch", "events.jsonl"))
def batch(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, readable=True, help="JSON lines, or one JSON array, of events."
        ),
    ],
) -> None:
    """Send the events of a small file; `punchcard import` is for large ones."""
    from punchcard.cli.sending import send_file

    with closing(_client(context)) as client:
        send_file(client, file)


def _send(context: typer.Context, call: str, *, texts: dict[str, str | None], objects: dict[str, str | None]) -> None:
    from punchcard.cli.sending import send_event

    with closing(_client(context)) as client:
        send_event(client, call, texts=texts, objects=objects)


def _client(context: typer.Context) -> "TrackingClient":
    from punchcard.cli.tracking_client import TrackingClient

    target: _Target = context.obj
    if target.write_key is None:
        raise ConfigurationError(f"--write-key is missing: punchcard send --write-key KEY {context.info_name} …")
    return TrackingClient(target.url, target.write_key)
