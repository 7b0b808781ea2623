"""The OpenAPI document keeps its word: schemathesis asks every call as the document allows, and as it forbids."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from punchcard.testing.examples import examples
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.long

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
[[destinations.filters]]
title = "no staff"
if = "contains( properties.email, '@staff.example' )"
actions = [{ type = "DROP" }]
"""
EXAMPLES_PER_CALL = examples(20, part=4)
# Not among them: whether all that the schema allows is accepted. A call may name what is not there, or must stay.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    ignored_auth,
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    folder = tmp_path_factory.mktemp("schema")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG) as server:
        event = {"userId": "a", "event": "Checked In", "messageId": "m-1", "properties": {"email": "a@example.com"}}
        server.send(event)
        server.route()
        server.deliver()
        yield server


def test_every_answer_is_one_that_the_document_names(api: PublicApiServer) -> None:
    document = schemathesis.openapi.from_url(f"http://127.0.0.1:{api.port}/api/openapi.json", timeout=PATIENCE_SECONDS)
    broken: dict[str, str] = {}
    requested = 0
    for all_operation in document.get_all_operations():
        operation = all_operation.ok()
        for mode in _modes(operation):
            requested += 1
            try:
                _ask(operation, mode, api.token)
            except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  # reports everything that is broken at once
                broken[f"{operation.method.upper()} {operation.path} {mode}"] = str(error)[:1500]
    assert requested > 200
    assert not broken, "\n\n".join(f"{name}\n{message}" for name, message in broken.items())


def _modes(operation: Any) -> list[GenerationMode]:
    """Return how a call can be asked: any text is a right path, so only a query and a body can be wrong.

    schemathesis would find that out too, after hundreds of attempts for each such call.
    """
    if operation.query or operation.body:
        return [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    return [GenerationMode.POSITIVE]


def _ask(operation: Any, mode: GenerationMode, token: str) -> None:
    @settings(
        max_examples=EXAMPLES_PER_CALL,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=PATIENCE_SECONDS)

    ask()
