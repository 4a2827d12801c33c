"""Did you mean: the nearest known name to one that is not known.

did_you_mean("digit", ["digits", "mlp"])  →  "; did you mean `digits`?"
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause to append to a message; empty where nothing is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else ""


def listed(names: Iterable[str], limit: int = 12) -> str:
    """`a`, `b`, `c` (and how many more)."""
    names = list(names)
    text = ", ".join(f"`{name}`" for name in names[:limit])
    return text + (f" and {len(names) - limit} more" if len(names) > limit else "")
