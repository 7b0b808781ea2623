"""Litestar for App and API, without what it adds for libraries that Punchcard does not use."""

from litestar import Litestar
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin


class PlainLitestar(Litestar):
    """Litestar for handlers with msgspec types only.

    It would import pydantic and attrs, if they are installed, for types of theirs: 0.15 s of the start of a process.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]
