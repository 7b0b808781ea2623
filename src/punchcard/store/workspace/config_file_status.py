"""Why the config file was not applied the last time it was read."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from punchcard.store.values import storable
from punchcard.store.workspace.schema import config_file_status

_ID = 1


@dataclass(frozen=True, kw_only=True)
class ConfigFileProblem:
    """What is wrong with the config file.

    Attributes:
        code: Of the error, such as `rename_unconfirmed`.
        since: When it was first found.
    """

    path: str
    code: str
    detail: str
    since: datetime


def read_config_file_problem(work: Connection) -> ConfigFileProblem | None:
    """Return why the config file was not applied, None if it was or there is none."""
    columns = config_file_status.c
    row = work.execute(select(columns.path, columns.code, columns.detail, columns.since)).one_or_none()
    return None if row is None else ConfigFileProblem(**row._mapping)


def write_config_file_problem(work: Connection, problem: ConfigFileProblem) -> None:
    """Write down why the config file was not applied; the same problem keeps the time when it was first found."""
    known = read_config_file_problem(work)
    if known is not None and (known.path, known.code, known.detail) == (problem.path, problem.code, problem.detail):
        return
    clear_config_file_problem(work)
    work.execute(
        insert(config_file_status).values(
            id=_ID,
            path=storable(problem.path),
            code=problem.code,
            detail=storable(problem.detail),
            since=problem.since,
        )
    )


def clear_config_file_problem(work: Connection) -> None:
    """Write down that the config file was applied."""
    work.execute(delete(config_file_status))
