"""The check names maps that will surprise, against the sandbox, and does not fail for them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from punchcard.destinations.perkville.client import PerkvilleClient
from punchcard.destinations.perkville.settings import read_settings
from punchcard.destinations.port import Finding
from punchcard.testing.sandbox import SandboxProcess


async def check(url: str, event_to_perk_map: dict[str, str]) -> Sequence[Finding]:
    settings = {"apiKey": "sandbox-token", "businessId": "41", "locationId": "7", "eventToPerkMap": event_to_perk_map}
    client = PerkvilleClient(read_settings(settings, {"apiBaseUrl": url}))
    try:
        return await client.check()
    finally:
        await client.close()


def test_the_check_warns_of_a_map_that_will_surprise_and_does_not_fail_for_it(tmp_path: Path) -> None:
    names = ("Order Completed", "Order Updated", "checked in ")
    with SandboxProcess(tmp_path) as sandbox:
        findings = asyncio.run(check(sandbox.url, dict.fromkeys(names, "123456")))
        ordinary = asyncio.run(check(sandbox.url, {"Order Completed": "123456"}))
    assert [finding for finding in findings if not finding.ok] == []
    warnings = [finding.message for finding in findings if finding.subject == "eventToPerkMap"]
    assert len(warnings) == 2
    assert all(warning.startswith("warning: ") for warning in warnings)
    assert "of 50 earns 100" in warnings[1]
    assert [item for item in ordinary if "warning" in item.message] == []
