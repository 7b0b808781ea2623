"""Pictures of the App's pages, compared with the ones that are kept in `tests/e2e/pictures`.

A picture shows what the style sheets do, not what the machine is: each letter is a block of the same width, so neither
the fonts of the machine nor the digits of a time matter, and charts, which end now, are left out. It is kept at an
eighth of its size, where a page that is the same differs in a few points and a lost rule in many.

With UPDATE_APPEARANCE=1 the kept pictures are replaced (`make appearance`).
"""

import base64
import io
import os
import re
from functools import cache
from pathlib import Path
from typing import Final

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageChops
from playwright.sync_api import CDPSession, Page

STORED: Final = Path(__file__).parent / "pictures"
DIFFERENT: Final = Path("build/appearance")
"""Where the picture, the kept one and their difference are written for each page that differs."""

IS_UPDATE: Final = bool(os.environ.get("UPDATE_APPEARANCE"))

_SCALE: Final = 8
_HEIGHT_MAX: Final = 2_000  # of the page, in pixels: what is further down are more rows of the same
_SHADES: Final = 16  # of each color that are kept, so that the files are small
_DIFFERENCE: Final = 40  # of 255, in one color; a point that differs by less is the same
_SHARE_MAX: Final = 0.02  # of all points
_HEIGHTS_MAX: Final = 0.08  # how much of its height a page may gain or lose

_EM: Final = 1_000
_LETTERS: Final = range(0x21, 0x3000)
_SPACES: Final = (0x20, 0xA0, 0x2009, 0x202F)

# The style sheet is made by script, which the policy of the pages permits.
_SHOW: Final = """async (font) => {
    if (!window.blocks) {
        const bytes = Uint8Array.from(atob(font), (letter) => letter.charCodeAt(0));
        document.fonts.add(await new FontFace("Blocks", bytes.buffer).load());
        window.blocks = new CSSStyleSheet();
        window.blocks.replaceSync(`
            *, ::before, ::after { font-family: Blocks !important; animation: none !important;
                transition: none !important; caret-color: transparent !important; }
            .chart, canvas { visibility: hidden !important; }`);
    }
    document.adoptedStyleSheets = [window.blocks];
    document.activeElement?.blur();
    const images = [...document.images];
    images.forEach((image) => { image.loading = "eager"; });
    await Promise.allSettled(images.map((image) => image.decode()));
    await document.fonts.ready;
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    return document.documentElement.scrollHeight;
}"""
_HIDE: Final = "() => { document.adoptedStyleSheets = []; }"


class Appearance:
    """Compares pages as a browser shows them with their kept pictures."""

    def __init__(self) -> None:
        self._faults: list[str] = []
        self._sessions: dict[Page, CDPSession] = {}

    def compare(self, page: Page, path: str, *, theme: str) -> None:
        """Compare a page as it is now, or keep its picture.

        Args:
            path: The path of the page, with which its picture is found.
        """
        size = page.viewport_size or {"width": 0, "height": 0}
        name = f"{_file_name(path)}-{size['width']}-{theme}.png"
        height = page.evaluate(_SHOW, _font())
        try:
            picture = _reduced(self._screenshot(page, size["width"], min(height, _HEIGHT_MAX)))
        finally:
            page.evaluate(_HIDE)
        stored = STORED / name
        if IS_UPDATE:
            stored.parent.mkdir(exist_ok=True)
            picture.save(stored, optimize=True)
        elif not stored.exists():
            self._faults.append(f"{name}: there is no stored picture")
            self._write(name, picture)
        elif fault := differs(picture, before := Image.open(stored).convert("RGB")):
            self._faults.append(f"{name}: {fault}")
            self._write(name, picture, before)

    def check(self) -> None:
        """Fail if a page differs.

        Raises:
            AssertionError: It names them, and where to look at them.
        """
        assert not self._faults, (
            "These pages look different:\n  " + "\n  ".join(self._faults) + f"\nPictures: {DIFFERENT}\n"
            "If they should, run `make appearance`, look at the changed pictures, and commit them."
        )

    def _screenshot(self, page: Page, width: int, height: int) -> bytes:
        """Return a PNG of the page's upper part, compressed little, which takes a third of the work off it."""
        session = self._sessions.get(page) or self._sessions.setdefault(page, page.context.new_cdp_session(page))
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        options = {"clip": clip, "captureBeyondViewport": True, "optimizeForSpeed": True}
        return base64.b64decode(session.send("Page.captureScreenshot", options)["data"])

    def _write(self, name: str, picture: Image.Image, before: Image.Image | None = None) -> None:
        DIFFERENT.mkdir(parents=True, exist_ok=True)
        picture.save(DIFFERENT / f"now-{name}")
        if before is not None:
            before.save(DIFFERENT / f"stored-{name}")
            ImageChops.difference(*_cropped(picture, before)).save(DIFFERENT / f"difference-{name}")


def differs(picture: Image.Image, stored: Image.Image) -> str:
    """Return how a picture differs from a stored one, "" if it does not."""
    gained = picture.height - stored.height
    if picture.width != stored.width or abs(gained) > max(2, _HEIGHTS_MAX * stored.height):
        sizes = [f"{image.width * _SCALE} x {image.height * _SCALE} px" for image in (stored, picture)]
        return f"was {sizes[0]}, is {sizes[1]}"
    difference = ImageChops.difference(*_cropped(picture, stored))
    red, green, blue = difference.split()
    histogram = ImageChops.lighter(ImageChops.lighter(red, green), blue).histogram()
    share = sum(histogram[_DIFFERENCE:]) / (difference.width * difference.height)
    return f"{share:.1%} of it differs" if share > _SHARE_MAX else ""


def _cropped(picture: Image.Image, stored: Image.Image) -> tuple[Image.Image, Image.Image]:
    box = (0, 0, min(picture.width, stored.width), min(picture.height, stored.height))
    return picture.crop(box), stored.crop(box)


def _reduced(screenshot: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    small = picture.resize((picture.width // _SCALE, max(1, picture.height // _SCALE)), Image.Resampling.BOX)
    step = 256 // _SHADES
    return small.point(lambda value: value // step * step + step // 2)


def _file_name(path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")[:60] or "home"


@cache
def _font() -> str:
    """Return a font in base64 in which every letter is the same block."""
    pen = TTGlyphPen(None)
    for point, draw in zip(((60, 0), (60, 500), (490, 500), (490, 0)), (pen.moveTo, *[pen.lineTo] * 3), strict=True):
        draw(point)
    pen.closePath()
    block, nothing = pen.glyph(), TTGlyphPen(None).glyph()
    builder = FontBuilder(_EM, isTTF=True)
    builder.setupGlyphOrder([".notdef", "space", "block"])
    builder.setupCharacterMap(dict.fromkeys(_LETTERS, "block") | dict.fromkeys(_SPACES, "space"))
    builder.setupGlyf({".notdef": block, "space": nothing, "block": block})
    builder.setupHorizontalMetrics({".notdef": (550, 60), "space": (280, 0), "block": (550, 60)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Blocks", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, sTypoDescender=-200, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    output = io.BytesIO()
    builder.save(output)
    return base64.b64encode(output.getvalue()).decode()
