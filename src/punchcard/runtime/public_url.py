"""The setting `public_url`: where people reach the App."""

import re
from contextlib import suppress
from typing import Final, NewType
from urllib.parse import urlsplit

PublicUrl = NewType("PublicUrl", str)

_FORM: Final = re.compile(r"https?://[\w.\[\]:-]+(/[\w./~-]*)?", re.ASCII)


def read_public_url(text: str) -> PublicUrl:
    """Return the URL without a slash at its end; "" if none is set.

    Raises:
        ValueError: The text is not such a URL.
    """
    url = text.strip().rstrip("/")
    with suppress(ValueError):  # half of the brackets of an IPv6 address, or a port that is none
        if not url or (_FORM.fullmatch(url) and urlsplit(url).port != 0):
            return PublicUrl(url)
    raise ValueError(f"A URL such as https://points.example.com is expected, not {text!r}.")
