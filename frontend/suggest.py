"""Did you mean: the nearest known name to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """`did you mean …?`, or None where nothing is near.

    >>> did_you_mean("rlu", ["relu", "gelu"])
    'did you mean `relu`?'
    """
    candidates = sorted(set(known))
    near = get_close_matches(name, candidates, n=1, cutoff=0.6)
    if not near:
        lower = {candidate.lower(): candidate for candidate in candidates}
        near = [lower[name.lower()]] if name.lower() in lower else []
    return f"did you mean `{near[0]}`?" if near else None
