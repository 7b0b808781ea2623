"""Puts the stored write keys of a source in the place of their masks, as an exported file has them."""

from collections import Counter
from dataclasses import replace

from punchcard.workspace.keyring import is_masked, mask
from punchcard.workspace.model import Source
from punchcard.workspace.problems import Problem


def restore_write_keys(desired: Source, current: Source | None, problems: list[Problem]) -> Source:
    """Return the source with its stored write keys for their masks; the masks of short keys may be alike."""
    by_mask: dict[str, list[str]] = {}
    for key in () if current is None else current.write_keys:
        by_mask.setdefault(mask(key), []).append(key)
    masks = Counter(filter(is_masked, desired.write_keys))
    restored = []
    for key in desired.write_keys:
        stored = by_mask.get(key, [])
        if not is_masked(key):
            restored.append(key)
        elif stored and masks[key] == len(set(stored)):
            restored.append(stored.pop(0))
            masks[key] -= 1
        else:
            reason = "several write keys have it" if stored else "the source has no such write key"
            message = f'"{key}" is the mask of a write key, but {reason}. Enter the write key itself.'
            problems.append(Problem(path=("sources", desired.slug, "write_keys"), message=message))
            restored.append(key)
    return replace(desired, write_keys=tuple(restored))
