"""Names that show nothing."""


def is_blank(text: str) -> bool:
    """Return whether people see nothing of a text: it is empty, or all of it is blank or not printable."""
    return not any(character.isprintable() and not character.isspace() for character in text)
