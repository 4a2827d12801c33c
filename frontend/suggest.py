"""Did you mean: the nearest known name to a misspelt one, or how another library's name is said."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

PREFIXES = ("np", "numpy", "jnp", "torch", "F", "tf", "math")
# What these are called in NumPy or PyTorch → how the language says it.
ELSEWHERE = {
    "amax": "`max(x, axis: …)`",
    "amin": "`min(x, axis: …)`",
    "arange": "`iota([N])`",
    "cat": "`concat([a, b], axis: 0)`",
    "clip": "`clamp(x, low, high)`",
    "concatenate": "`concat([a, b], axis: 0)`",
    "eye": "`[i: N, j: N] -> select(i == j, 1.0, 0.0)`",
    "fill": "`full([N], 1.5)`",
    "linear": "`nn.dense(x, units: 10)`",
    "Linear": "`nn.dense(x, units: 10)`",
    "len": "`size(x, 0)`",
    "masked_fill": "`select(mask, value, x)`",
    "matmul": "`a @ b`",
    "maximum": "`max(a, b)`",
    "minimum": "`min(a, b)`",
    "ndim": "`rank(x)`",
    "onehot": "`one_hot(ids, count)`",
    "permute": "`transpose(x, [1, 0])`",
    "rand": "`uniform([N])`",
    "randn": "`normal([N])`",
    "range": "`iota([N])`",
    "shape": "`size(x, axis)`",
    "std": "`sqrt(variance(x, axis: -1))`",
    "tril": "`[i, j] -> select(j <= i, x[i, j], 0)`",
    "triu": "`[i, j] -> select(j >= i, x[i, j], 0)`",
    "var": "`variance(x, axis: -1)`",
    "view": "`reshape(x, [N, -1])`",
}
NOT_THERE = {"sort": "sorting", "argsort": "sorting", "topk": "sorting", "top_k": "sorting"}


def known_elsewhere(name: str) -> str | None:
    """How the language says what another library calls so.

    >>> known_elsewhere("permute")
    'write `transpose(x, [1, 0])`'
    """
    if name in NOT_THERE:
        return f"{NOT_THERE[name]} is not there yet; the largest of a row is `argmax(x, axis: -1)`"
    return f"write {ELSEWHERE[name]}" if name in ELSEWHERE else None


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
