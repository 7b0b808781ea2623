"""Code snippets that send events to a source."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from punchcard.app.assets import SNIPPET_HOST, SNIPPET_KEY, read_published_snippet
from punchcard.workspace.model import Source


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """A snippet.

    Attributes:
        types: Source types that show this snippet first.
    """

    key: str
    title: str
    text: str
    note: str = ""
    types: tuple[str, ...] = ()


def snippets_for(source: Source, *, host: str) -> Sequence[Snippet]:
    """Return all snippets for a source, those of its type first.

    Args:
        host: Public URL of the Tracking API, such as `https://points.example.com`.
    """
    key = source.write_keys[0]
    snippets = [make(key, host) for make in (_browser, _python, _node, _curl, _segment, _file)]
    published = read_published_snippet()
    if published is not None:
        snippets.insert(0, _website(key, host, published))
    return sorted(snippets, key=lambda snippet: source.type not in snippet.types)


def _website(key: str, host: str, published: str) -> Snippet:
    quoted_key = json.dumps(key).replace("</", "<\\/")
    script = published.replace(f"https://{SNIPPET_HOST}", host).replace(f'"{SNIPPET_KEY}"', quoted_key)
    return Snippet(
        key="website",
        title="Website",
        types=("javascript",),
        text=f"<script>\n{script}</script>",
        note="Segment’s snippet; it loads the library from this server. Put it into the head of every page. "
        'Then analytics.track("Checked In", { email: "ann@example.com" }) sends an event.',
    )


def _browser(key: str, host: str) -> Snippet:
    protocol, _, address = host.partition("://")
    return Snippet(
        key="browser",
        title="Website with npm",
        types=("javascript",),
        text=f"""<script type="module">
  import {{ AnalyticsBrowser }} from "https://cdn.jsdelivr.net/npm/@segment/analytics-next/+esm";
  const analytics = AnalyticsBrowser.load(
    {{ writeKey: "{key}", cdnURL: "{host}" }},
    {{ integrations: {{ "Segment.io": {{ apiHost: "{address}/v1", protocol: "{protocol}" }} }} }},
  );
  analytics.track("Checked In", {{ email: "ann@example.com" }});
</script>""",
        note="Segment's analytics.js, from npm as @segment/analytics-next.",
    )


def _python(key: str, host: str) -> Snippet:
    return Snippet(
        key="python",
        title="Python",
        types=("python",),
        text=f"""# pip install segment-analytics-python
import segment.analytics as analytics

analytics.write_key = "{key}"
analytics.host = "{host}"
analytics.track("ann", "Order Completed", {{"order_id": "1001", "revenue": "9.99", "email": "ann@example.com"}})
analytics.flush()""",
    )


def _node(key: str, host: str) -> Snippet:
    return Snippet(
        key="node",
        title="Node",
        types=("node-js",),
        text=f"""// npm install @segment/analytics-node
import {{ Analytics }} from "@segment/analytics-node";

const analytics = new Analytics({{ writeKey: "{key}", host: "{host}" }});
analytics.track({{
  userId: "ann",
  event: "Order Completed",
  properties: {{ order_id: "1001", revenue: 9.99, email: "ann@example.com" }},
}});
await analytics.closeAndFlush();""",
    )


def _curl(key: str, host: str) -> Snippet:
    return Snippet(
        key="curl",
        title="curl",
        types=("http-api",),
        text=f"""curl -u {key}: {host}/v1/track \\
  -H 'Content-Type: application/json' \\
  -H 'X-Punchcard-Strict: 1' \\
  -d '{{"userId": "ann", "event": "Checked In", "properties": {{"email": "ann@example.com"}}}}'""",
        note="With the header X-Punchcard-Strict, the response reports an invalid event immediately.",
    )


def _segment(key: str, host: str) -> Snippet:
    return Snippet(
        key="segment",
        title="Segment’s cloud",
        types=("segment",),
        text=f"""Webhook URL:    {host}/v1/webhooks/segment/{key}
Shared secret:  {key}""",
        note="At Segment, add the Webhooks destination to a source, with this URL and shared secret.",
    )


def _file(key: str, host: str) -> Snippet:
    return Snippet(
        key="file",
        title="A file",
        text=f"punchcard import orders.csv --write-key {key} --url {host}",
        note="CSV, JSON lines or Parquet. Importing the same file again does not award anything twice.",
    )
