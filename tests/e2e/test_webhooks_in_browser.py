"""Webhooks set up in the App with a real browser: found, tested, added, tried out, and seen in debugger and ledger."""

import json
import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from punchcard.testing.product import ProductProcess
from punchcard.testing.webhook_receiver import WebhookReceiver


def test_a_receiver_is_set_up_and_its_calls_are_seen(tmp_path: Path, chromium: Browser) -> None:
    content = {
        "workspace": {"name": "Acme", "webhookAllowedNetworks": ["127.0.0.0/8"]},
        "sources": [{"slug": "website", "name": "Website", "write_key": "wk_website"}],
    }
    with WebhookReceiver() as receiver, ProductProcess(tmp_path, content) as product:
        context = chromium.new_context(base_url=product.url, viewport={"width": 1280, "height": 860})
        page = context.new_page()
        page.goto("/")
        page.locator("input[name=name]").fill("Olga")
        page.locator("input[name=email]").fill("olga@acme.example")
        page.locator("input[type=password]").fill("correct horse battery staple")
        page.locator("form button").last.click()
        page.wait_for_url(re.compile(r"/$"))

        page.goto("/catalog")
        page.get_by_role("searchbox").fill("webhook")
        page.get_by_role("link", name=re.compile("Webhooks")).first.click()
        expect(page.get_by_text("At least once").first).to_be_visible()
        page.get_by_role("link", name="Add destination").click()
        page.get_by_label("Webhook URL").fill(receiver.url)
        page.get_by_label("Headers").fill("Authorization: Bearer secret-of-crm")
        page.get_by_label("Shared secret").fill("shared-secret")
        page.locator("[hx-post$='/check']").click()
        expect(page.locator("#findings")).to_contain_text("127.0.0.1 can be reached")
        page.get_by_role("button", name="Add Webhooks").click()
        page.wait_for_url(re.compile(r"/destinations/webhooks$"))
        expect(page.get_by_role("link", name="Event map")).to_have_count(0)

        page.goto("/destinations/webhooks/settings")
        expect(page.get_by_label("Headers")).to_have_value("Authorization: ••••-crm")
        page.goto("/destinations/webhooks/tester?as=json")
        event = {"type": "track", "event": "Checked In", "userId": "u1", "messageId": "from-the-tester"}
        page.locator("textarea[name=event]").fill(json.dumps(event))
        page.locator("button[name=send][value=no]").click()
        expect(page.locator("#result")).to_contain_text(f"POST {receiver.url}")
        assert [request.method for request in receiver.requests] == ["HEAD"]
        page.locator("button[name=send][value=yes]").click()
        expect(page.locator("#result")).to_contain_text("status 200")

        page.goto("/destinations/webhooks/transactions")
        expect(page.get_by_text("track call").first).to_be_visible()
        for path, text in (("/events/from-the-tester", "track call"), ("/sources/website/debugger", "Checked In")):
            page.goto(path)
            expect(page.get_by_text(text).first).to_be_visible()
        context.close()
        (request,) = [request for request in receiver.requests if request.method == "POST"]
    assert request.headers["authorization"] == "Bearer secret-of-crm"
    assert re.fullmatch(r"[0-9a-f]{40}", request.headers["x-signature"])
    assert request.events[0]["messageId"] == "from-the-tester"
