"""Bring an existing database to the newest migration, within the caller's unit of work."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from punchcard.errors import ConfigurationError


def upgrade(work: Connection, *, revision: str = "head") -> None:
    """Run every migration that the database does not have yet.

    Args:
        revision: The last one to run, for tests of those behind it.

    Raises:
        ConfigurationError: the database was written by a newer Punchcard.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = work
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise ConfigurationError(
            f"the database cannot be brought up to date ({error}): it may have been written by a newer Punchcard"
        ) from error
