"""Which settings several machines must share: checked when storage is opened, and refused with the remedy."""

from punchcard.errors import ConfigurationError, LakeError
from punchcard.lake.reader import LakeReader
from punchcard.log.opening import is_shared
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.store.routing.positions import LAKE, position_of


def refuse_wrong_combination(settings: Settings) -> None:
    """Refuse settings with which processes on several machines would lose or hide events.

    Raises:
        ConfigurationError: One line per problem, with the remedy.
    """
    if not is_shared(settings.event_log_url()):
        return
    problems = []
    if settings.store_url().startswith("sqlite:"):
        problems.append(
            "log_url: A shared event log needs a shared database, because its events are routed once for all machines. "
            "Set PUNCHCARD_DATABASE_URL to postgresql://…, or unset PUNCHCARD_LOG_URL."
        )
    if not settings.secret_key:
        problems.append(
            "secret_key: With a shared event log every process needs the same secret key, and the data folder is not "
            "shared. Set PUNCHCARD_SECRET_KEY to the same long text everywhere (to the content of the file secret-key, "
            "if this installation has one)."
        )
    if problems:
        raise ConfigurationError("\n".join(problems))


def refuse_lake_of_its_own(settings: Settings, store: Store) -> None:
    """Refuse to start a worker with a lake in its data folder while another machine's lake holds more events.

    A worker with PUNCHCARD_LAKE_URL may start: then its operator has named the lake, even one that was lost.

    Raises:
        ConfigurationError: With the remedy.
        StorageError: The store is not available.
    """
    if settings.lake_url or not is_shared(settings.event_log_url()):
        return
    with store.reading() as work:
        written = position_of(work, LAKE)
    try:
        last = LakeReader(settings.lake_location()).last_position()
    except LakeError:
        return  # damaged, and therefore there: awards do not wait for its repair
    if last < written:
        raise ConfigurationError(
            f"lake_url: The lake in this data folder ends at log position {last}, and that of another worker at "
            f"{written}. Two lakes would have gaps. Set PUNCHCARD_LAKE_URL to s3://bucket/prefix, or to a folder that "
            "all machines share. If the other lake is lost, set it to where a new one is to begin."
        )
