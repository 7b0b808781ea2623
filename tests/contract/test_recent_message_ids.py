"""Promise: a worker that begins to route knows every routed message id, also one that another worker appends."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from punchcard.errors import LakeError
from punchcard.lake.reader import LakeReader
from punchcard.routing.dedupe import MessageIndex
from punchcard.runtime.message_ids import fill_index
from punchcard.store.engine import Store
from punchcard.testing.installation import SOURCE, Installation


class SlowReader(LakeReader):
    """Reads the files that there were before something else happened."""

    def __init__(self, url: str, meanwhile: Callable[[], object]) -> None:
        super().__init__(url)
        self._meanwhile = meanwhile

    def recent_message_keys(
        self, limit: int, *, on_damage: Callable[[LakeError], None] | None = None
    ) -> Iterator[list[str]]:
        before = list(super().recent_message_keys(limit, on_damage=on_damage))
        self._meanwhile()
        return iter(before)


def test_ids_that_another_worker_appends_while_the_lake_is_read_are_known(tmp_path: Path, sqlite_url: str) -> None:
    with closing(Store(sqlite_url)) as store:
        former = Installation(tmp_path, store)
        for number in range(3):
            former.send({"type": "track", "event": "Visit", "userId": "ann", "messageId": f"m{number}"})
            former.route()
            if number == 0:
                former.feed.flush()
        new = Installation(tmp_path, store)
        index = MessageIndex(1_000)
        lake = SlowReader(former.lake_url, meanwhile=former.feed.flush)
        fill_index(index, lake, new.feed, ids_min=1_000, clock=new.clock)
        assert len(former.in_lake()) == 3, "it was appended meanwhile"
        assert index.known([f"{SOURCE} m{number}" for number in range(3)]) == {f"{SOURCE} m{n}" for n in range(3)}
        former.close()
        new.close()
