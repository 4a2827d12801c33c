"""Which part of an array a kernel touches: on each axis, the first and the last of its subscripts.

In: a kernel, one of its parameters. Out: bounds over the kernel's sizes, None where they are not
known; and whether two calls that write one array share no element of it.

    for i in 0..N { for j in 0..96 { y[i, j + 96] = … } }      (0, N - 1), (96, 191)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice

from stepwell.ir.loop.core import Call, For, Kernel
from stepwell.ir.scalar import coefficient
from stepwell.ir.size import (
    Atom,
    Dim,
    Size,
    maximum,
    minimum,
    provably_le,
    substitute,
    symbols,
)
from stepwell.lowering.dependence import Access, accesses_in, known_names, subscripts
from stepwell.lowering.partition import undealt

Bounds = tuple[Dim, Dim]
_MOST = 256  # accesses of a kernel that are looked at


class Footprints:
    """Of the calls of a program: each kernel's are worked out once."""

    def __init__(self, kernels: dict[str, Kernel]) -> None:
        self.kernels = kernels
        self._of = cache(lambda kernel, name: footprint(kernels[kernel], name))

    def are_apart(self, first: Call, then: Call, name: str) -> bool:
        """Whether the calls touch no element of the array `name` in common, for sure."""
        (shape, ours), (other, theirs) = (self._seen(call, name) for call in (first, then))
        pairs = zip(ours, theirs, strict=True) if shape == other else ()
        return any(
            x is not None
            and y is not None
            and (provably_le(x[1] + 1, y[0]) or provably_le(y[1] + 1, x[0]))
            for x, y in pairs
        )

    def _seen(self, call: Call, name: str) -> tuple[tuple[Dim, ...], list[Bounds | None]]:
        """The array's shape and the bounds, over the program's sizes."""
        kernel = self.kernels[call.kernel]
        buffer = kernel.parameters[call.arguments.index(name)].buffer
        sizes = dict(zip(kernel.sizes, call.sizes, strict=True))
        found = self._of(call.kernel, buffer.name)
        return tuple(substitute(dim, sizes) for dim in buffer.shape), [
            b and (substitute(b[0], sizes), substitute(b[1], sizes)) for b in found
        ]


def footprint(kernel: Kernel, name: str) -> list[Bounds | None]:
    """The bounds of what the kernel touches of a parameter, axis by axis."""
    (buffer,) = (p.buffer for p in kernel.parameters if p.buffer.name == name)
    uses = list(islice(accesses_in(undealt(kernel.body), {name}), _MOST + 1))
    if not 0 < len(uses) <= _MOST:
        return [None] * len(buffer.shape)
    names = known_names(kernel)
    dims = [dict(subscripts(names, access)) for access in uses]
    found: list[Bounds | None] = []
    for axis in range(len(buffer.shape)):
        each = [_interval(d.get(axis), a, kernel) for d, a in zip(dims, uses, strict=True)]
        known = [bounds for bounds in each if bounds is not None]
        joined = known[0] if len(known) == len(each) else None
        for low, high in known if joined is not None else ():
            joined = joined and (minimum(joined[0], low), maximum(joined[1], high))
        found.append(joined)
    return found


def _interval(dim: Dim | None, access: Access, kernel: Kernel) -> Bounds | None:
    if dim is None:
        return None
    highs, lows = highest(dim, access), lowest(dim, access)
    highs, lows = (
        [b for b in bounds if symbols(b) <= set(kernel.sizes)] for bounds in (highs, lows)
    )
    return (_simplest(lows), _simplest(highs)) if highs and lows else None


def _simplest(bounds: Sequence[Dim]) -> Dim:
    return next((bound for bound in bounds if isinstance(bound, int)), bounds[0])


def highest(dim: Dim, access: Access) -> list[Dim]:
    """Numbers that a subscript does not exceed where the access takes place."""
    indices = {loop.index for loop in access.loops}
    highs = list(_bounds(dim, access.loops))
    for left, right in access.limits:
        if not symbols(dim - left) & indices and not symbols(right) & indices:
            highs.append(right - 1 + (dim - left))
    return highs


def lowest(dim: Dim, access: Access) -> list[Dim]:
    """Numbers that a subscript is not below."""
    return [-bound for bound in _bounds(-dim, access.loops)]


def _bounds(dim: Dim, loops: Sequence[For]) -> Iterator[Dim]:
    """Numbers that the dim does not exceed: with an extent that is the lesser of two, by both."""
    if not loops:
        yield dim
        return
    *outer, loop = loops
    factor = coefficient(dim, loop.index)
    if factor is None:
        return
    if provably_le(factor, 0):
        yield from _bounds(substitute(dim, {loop.index: 0}), outer)
    elif provably_le(0, factor):
        for extent in _alternatives(loop.extent):
            yield from _bounds(substitute(dim, {loop.index: extent - 1}), outer)


def _alternatives(extent: Dim) -> tuple[Dim, ...]:
    """a and b of `min(a, b)`; else the extent itself."""
    match extent:
        case Size(terms=((((Atom(function="min", left=left, right=right)),), 1),)):
            return (*_alternatives(left), *_alternatives(right))
    return (extent,)
