"""Renders templates, and formats times, numbers and statuses in the same way on every page."""

import functools
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

from punchcard import __version__
from punchcard.app.assets import Assets
from punchcard.app.headings import destination_heading, destination_mark, source_heading
from punchcard.app.lettermarks import lettermark
from punchcard.app.navigation import ENTRIES, is_current
from punchcard.app.paths import is_own_source, page_path, source_path
from punchcard.app.period_labels import PERIOD_LABELS
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Capability, Definition, LedgerColumn, default_column
from punchcard.lake.lake_event import LakeEvent
from punchcard.operations.remedies import find_remedies, next_step, trace_remedies
from punchcard.operations.sentences import as_sentence, count_noun
from punchcard.operations.statuses import Tone, status_label, status_tone
from punchcard.store.access.token_store import Role
from punchcard.traces.reasons import find_reason, plain, remedy_of
from punchcard.traces.redaction import mask_write_keys
from punchcard.workspace.model import Destination
from punchcard.workspace.part_names import destination_title

_FOLDER = Path(__file__).parent / "templates"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_COLORS = {
    Tone.SUCCESS: "green",
    Tone.PROGRESS: "azure",
    Tone.NEUTRAL: "secondary",
    Tone.WARNING: "orange",
    Tone.ERROR: "red",
}


class _CompiledTemplates(BytecodeCache):
    """The compiled templates of this process: compiling one takes longer than rendering it."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give a template its code, if it was compiled before."""
        if (code := self._code.get(bucket.key)) is not None:
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a template."""
        self._code[bucket.key] = bucket.bytecode_to_string()


_compiled_templates = _CompiledTemplates()
_zone_of_page: ContextVar[Callable[[], ZoneInfo]] = ContextVar("zone_of_page")

_FUNCTIONS = {
    "lettermark": lettermark,
    "destination_heading": destination_heading,
    "destination_mark": destination_mark,
    "destination_title": destination_title,
    "source_heading": source_heading,
    "page_path": page_path,
    "source_path": source_path,
    "find_remedies": find_remedies,
    "trace_remedies": trace_remedies,
    "next_step": next_step,
}


class Renderer:
    """Renders templates.

    Args:
        zone: Returns the workspace's current time zone.
        now: Returns the present.
    """

    def __init__(self, assets: Assets, *, zone: Callable[[], ZoneInfo], now: Callable[[], datetime]) -> None:
        self._zone = zone
        self._now = now
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER),
            bytecode_cache=_compiled_templates,
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            join_names=_join_names,
            sentence=as_sentence,
            moment=self._moment,
            ago=self._ago,
            number=_number,
            count_noun=count_noun,
            amount=format_amount,
            seconds=_seconds,
            pretty=_pretty,
            plain_value=_plain_value,
            raw=_raw,
            status_label=status_label,
            status_color=_status_color,
            reason_meaning=_reason_meaning,
            reason_remedy=remedy_of,
            inline_code=_inline_code,
            call_name=_call_name,
            percent=_percent,
            json=json_text,
        )
        self._templates.globals.update(
            asset=assets.url,
            assets_are_built=assets.are_built,
            icon=lambda name, label="": _icon(assets.url("icons.svg"), name, label),
            **_FUNCTIONS,
            is_own_source=is_own_source,
            PERIOD_LABELS=PERIOD_LABELS,
            navigation_entries=ENTRIES,
            is_current=is_current,
            Role=Role,
            has_event_map=has_event_map,
            has_amounts=_has_amounts,
            has_balances=_has_balances,
            column_label=_column_label,
            lists_transactions=lists_transactions,
            version=__version__,
        )

    def render(self, template: str, values: Mapping[str, object]) -> str:
        """Return the rendered template."""
        # The zone is read once a page: a page may show a thousand moments.
        token = _zone_of_page.set(functools.cache(self._zone))
        try:
            return self._templates.get_template(template).render(values)
        finally:
            _zone_of_page.reset(token)

    def _moment(self, instant: datetime | None) -> Markup:
        """Format an instant in the workspace's time zone, with the exact UTC time as a tooltip."""
        if instant is None:
            return Markup('<span class="text-secondary">never</span>')
        zone = _zone_of_page.get(self._zone)()
        local = instant.astimezone(zone)
        today = self._now().astimezone(zone)
        if local.date() == today.date():
            text = local.strftime("%H:%M:%S")
        elif local.year == today.year:
            text = local.strftime("%b %-d, %H:%M")
        else:
            text = local.strftime("%b %-d, %Y")
        exact = instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # Digits and names of months need no escaping, and a page may show a thousand moments.
        return Markup(f'<time datetime="{exact}" title="{exact[:10]} {exact[11:-1]} UTC">{text}</time>')

    def _ago(self, instant: datetime | None) -> Markup:
        """Format the age of an instant, with the exact UTC time as a tooltip."""
        if instant is None:
            return Markup("never")
        seconds = max(0, int((self._now() - instant).total_seconds()))
        exact = instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", " UTC").replace("T", " ")
        return Markup('<span title="{}">{} ago</span>').format(exact, _duration(seconds))


def json_text(value: object) -> Markup:
    """Return a value as JSON for a script element, escaped so that it cannot end the element."""
    text = msgspec.json.encode(value).decode()
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _status_color(status: str) -> str:
    """Return the Tabler color of a status."""
    return _COLORS[status_tone(status)]


def _find_definition(destination: Destination) -> Definition | None:
    partner = CATALOG.get(destination.type)
    return None if partner is None else partner.definition


def has_event_map(destination: Destination) -> bool:
    """Return True if the destination has an event map."""
    definition = _find_definition(destination)
    return definition is not None and definition.event_map is not None


def _has_amounts(destination: Destination) -> bool:
    """Return True if effects of the destination have quantities, such as points."""
    definition = _find_definition(destination)
    return definition is not None and Capability.AMOUNTS in definition.capabilities


def _has_balances(destination: Destination) -> bool:
    """Return True if the destination can read balances of customers."""
    definition = _find_definition(destination)
    return definition is not None and Capability.BALANCES in definition.capabilities


def lists_transactions(destination: Destination) -> bool:
    """Return whether the partner's transactions can be compared with the ledger."""
    definition = _find_definition(destination)
    return definition is not None and Capability.RECONCILE in definition.capabilities


def _column_label(destination: Destination, column: str) -> str:
    """Return what the destination calls a column of the ledger, such as `Reward`; the column's own name by default."""
    definition = _find_definition(destination)
    own = LedgerColumn(column)
    return (default_column(own) if definition is None else definition.summary_column(own)).label


def _join_names(names: Iterable[str]) -> str:
    """Return the names as a phrase: `a, b and c`."""
    *first, last = list(names)
    return f"{', '.join(first)} and {last}" if first else last


def _duration(seconds: int) -> str:
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < 2 * _HOUR:
        return f"{seconds // _MINUTE} min"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR} h"
    return f"{seconds // _DAY} days"


class _Named(msgspec.Struct):
    name: msgspec.Raw = msgspec.Raw()


_named_decoder = msgspec.json.Decoder(_Named)
_NAME_CHARACTERS_MAX = 120


def _call_name(event: LakeEvent) -> str:
    """Return the name of a page or screen call, "" if it has none that is a text."""
    try:
        name = msgspec.json.decode(_named_decoder.decode(event.payload).name)
    except (msgspec.DecodeError, RecursionError):
        return ""
    return name[:_NAME_CHARACTERS_MAX] if isinstance(name, str) else ""


def _inline_code(text: str) -> Markup:
    """Return a sentence with the text between backticks as code."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


def _number(value: int | float | Decimal | None) -> str:
    return "–" if value is None else f"{value:,}"


def format_amount(value: Decimal | str | None) -> str:
    """Format an amount with thousands separators, without zeros at the end."""
    if value is None:
        return "–"
    text = f"{Decimal(value):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _percent(part_and_whole: tuple[int, int]) -> str:
    """Format a share. What is not quite nothing or all is never shown as 0 or 100 %."""
    part, whole = part_and_whole
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 1:
        return "<1 %"
    if 99 < percent < 100:
        return ">99 %"
    return f"{percent:.0f} %"


def _seconds(value: timedelta | None) -> str:
    if value is None:
        return "–"
    seconds = value.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 2 * _MINUTE else _duration(int(seconds))


def _pretty(text: bytes | str | Mapping[str, object]) -> str:
    """Return indented JSON; a text that is not JSON is returned unchanged."""
    if isinstance(text, Mapping):
        text = msgspec.json.encode(text)
    raw = mask_write_keys(text.encode() if isinstance(text, str) else text)
    try:
        return msgspec.json.format(raw, indent=2).decode()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return raw.decode(errors="replace")


def _plain_value(text: str) -> str:
    """Return the JSON of a trait for display: a text without quotes."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return value if isinstance(value, str) else text


def _raw(text: bytes) -> str:
    return mask_write_keys(text).decode(errors="replace")


def _reason_meaning(code: str | None) -> str:
    reason = find_reason(code)
    return "" if reason is None else plain(reason.means)


def _icon(sprite: str, name: str, label: str) -> Markup:
    attributes = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    return Markup(
        '<svg class="icon" {} width="24" height="24" fill="none" stroke="currentColor"><use href="{}#{}"></use></svg>'
    ).format(attributes, sprite, name)
