"""Formats messages as sentences."""


def as_sentence(text: str) -> str:
    """Return the text with a capital at the start and a full stop at the end; "" stays empty."""
    text = text.strip()
    if not text:
        return ""
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?', '…')) else '.'}"
