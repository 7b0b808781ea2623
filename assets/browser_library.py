"""Builds what websites load: Segment's published library for browsers as the snippet asks for it, with its parts.

Everything is served as it is published. Two lines are added around the script, which let it ask the host that it came
from for its settings and parts: of itself it looks only for hosts with https, and else asks Segment's.
"""

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

from node_commands import NodeCommands

# A placeholder host and key, which the App replaces.
SNIPPET_HOST = "punchcard.invalid"
SNIPPET_KEY = "YOUR_WRITE_KEY"

_BEFORE = (
    "var s=document.currentScript,m=s&&/^(.+)\\/analytics\\.js\\/v1\\//.exec(s.src);if(m){"
    'var k=s.getAttribute("data-global-segment-analytics-key")||"analytics";'
    # Where the page calls it otherwise, the library still looks for its host under the usual name when it starts.
    "if(window[k]&&!window[k]._cdn)window[k]._cdn=m[1];if(!window.analytics)window.analytics={_cdn:m[1],_onlyCdn:1}}"
)
_AFTER = "if(window.analytics&&window.analytics._onlyCdn)delete window.analytics"
_SOURCE_MAP = re.compile(r"\n?//# sourceMappingURL=\S+\s*$")
_CHUNK_HASHES = re.compile(r':"([0-9a-f]{20})"')


def build_library(modules: Path, target: Path) -> None:
    """Write the library's files, each gzipped beside it, and `library.json`, which names them."""
    package = modules / "@segment/analytics-next"
    umd = package / "dist/umd"
    version = json.loads((package / "package.json").read_text())["version"]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    script = _SOURCE_MAP.sub("", (umd / "standalone.js").read_text())
    contents = {file.name: file.read_bytes() for file in umd.glob("*.bundle.*.js")}
    contents |= {file.name: file.read_bytes() for file in umd.glob("*.bundle.*.js.map")}
    for chunk_hash in set(_CHUNK_HASHES.findall(script)):
        if not any(chunk_hash in name for name in contents):
            raise SystemExit(f"assets: {package} lacks the part {chunk_hash} that its script loads")
    banner = f"/*! @segment/analytics-next {version} | MIT | /analytics-next/bundles/LICENSE.txt */"
    lines = [
        f"{banner}!function(){{{_BEFORE}}}();",
        script,
        f"!function(){{{_AFTER}}}();",
        "//# sourceMappingURL=/analytics-next/bundles/standalone.js.map",
        "",
    ]
    contents["analytics.min.js"] = "\n".join(lines).encode()
    contents["standalone.js.map"] = _shifted_by_a_line((umd / "standalone.js.map").read_text())
    contents["LICENSE.txt"] = (package / "LICENSE.MD").read_bytes()
    for name, content in contents.items():
        (target / name).write_bytes(content)
        (target / f"{name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    (target / "library.json").write_text(json.dumps({"version": version, "files": sorted(contents)}, indent=2) + "\n")


def render_snippet(modules: Path, commands: NodeCommands) -> bytes:
    """Return Segment's snippet as published, with the placeholders for host and write key."""
    program = (
        f"const snippet = require({json.dumps(str(modules / '@segment/snippet'))});"
        f'process.stdout.write(snippet.min({{ host: "{SNIPPET_HOST}", apiKey: "{SNIPPET_KEY}" }}))'
    )
    done = subprocess.run([*commands.node, "-e", program], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit("assets: node could not render Segment's snippet; its error is above")
    if f"https://{SNIPPET_HOST}/".encode() not in done.stdout or f'"{SNIPPET_KEY}"'.encode() not in done.stdout:
        raise SystemExit("assets: Segment's snippet does not name its host and key as it did")
    return done.stdout.strip() + b"\n"


def _shifted_by_a_line(source_map: str) -> bytes:
    content = json.loads(source_map)
    content["mappings"] = ";" + content["mappings"]
    return json.dumps(content, separators=(",", ":")).encode()
