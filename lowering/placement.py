"""Where the elements of an array lie in another one, of which they are a part.

In: a nest that copies one parameter of a kernel into another. Out: a `Placement`, in any shape in
which a kernel may see the part.

    for i in 0..N { for j in 0..96 { out[i, j + 64] = t[i, j] } }      t[i, j]  at  out[i, j + 64]

    for i in 0..N { for j in 0..96 { out[i, j + 64] = t[j // 32, i, j % 32] } }
                  t[h, i, d]  at  out[i, 32*h + d + 64], or out[i, h + 2, d] of [N, 5, 32]

A part's numbers that lie side by side do so in the whole, too: vectors of them stay vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stepwell.ir.loop.core import Buffer, For, Statement, Store
from stepwell.ir.ranges import Ranges, simplify_dim, within
from stepwell.ir.scalar import Expr, Load, as_dim, coefficient, from_dim, simplify_index, substitute
from stepwell.ir.size import (
    Dim,
    exact_quotient,
    product,
    provably_le,
    symbol,
    symbols,
)
from stepwell.ir.size import substitute as substitute_dim


@dataclass(frozen=True)
class Placement:
    """Element [@0, @1, …] of an array of shape `part` is element `at` of one of shape `whole`."""

    part: tuple[Dim, ...]
    whole: tuple[Dim, ...]
    at: tuple[Dim, ...]

    def place(self, indices: Sequence[Expr]) -> tuple[Expr, ...]:
        """The subscripts, in the whole, of what has these in the part."""
        values = {_index(number): expr for number, expr in enumerate(indices)}
        return tuple(simplify_index(substitute(from_dim(dim), values)) for dim in self.at)

    def seen_as(self, shape: tuple[Dim, ...]) -> Placement | None:
        """The same for the part in another shape; None where no subscripts of the whole are sums
        of multiples of its indices."""
        found = self if shape == self.part else self._reshaped(shape)
        return None if found is None else _with_axes_apart(found)

    def _reshaped(self, shape: tuple[Dim, ...]) -> Placement | None:
        groups = _alike(self.part, shape)
        if groups is None:
            return None
        # One step for both sets of indices at once: their names are the same.
        values: dict[str, Dim] = {
            _index(n): 0 if extent == 1 else symbol(f"{_index(n)}.old")
            for n, extent in enumerate(self.part)
        }
        at = [substitute_dim(dim, values) for dim in self.at]
        for old, new in groups:
            names = [f"{_index(n)}.old" for n in old]
            numbers = _linear([self.part[n] for n in old], names)
            ours = _linear([shape[n] for n in new], [_index(n) for n in new])
            changed = [_with(dim, names, numbers, ours) for dim in at]
            at = [dim for dim in changed if dim is not None]
            if len(at) < len(changed):
                return None
        return Placement(shape, self.whole, tuple(at))


def placement(nest: Statement, source: Buffer, target: Buffer) -> Placement | None:
    """Where a nest puts the elements of `source`, where that is all it does: each once, into
    `target`, those of a row side by side; else None."""
    loops: dict[str, Dim] = {}
    while isinstance(nest, For) and len(nest.body) == 1 and nest.kind == "serial":
        if symbols(nest.extent) & loops.keys():
            return None
        loops[nest.index] = nest.extent
        (nest,) = nest.body
    match nest:
        case Store(buffer=to, indices=at, value=Load(buffer=of, indices=read, guard=None)):
            if (of, to) == (source.name, target.name):
                return _placement(loops, source, target, read, at)
    return None


def _placement(
    loops: Mapping[str, Dim], source: Buffer, target: Buffer, read: Sequence[Expr],
    store: Sequence[Expr],
) -> Placement | None:  # fmt: skip
    dims, at = [as_dim(expr) for expr in read], [as_dim(expr) for expr in store]
    known = [dim for dim in (*dims, *at) if dim is not None]
    if len(known) < len(dims) + len(at):
        return None
    found = _inverse(loops, source.shape, known[: len(dims)])
    if found is None:
        return None
    ranges = {_index(n): extent for n, extent in enumerate(source.shape)}
    place = tuple(simplify_dim(substitute_dim(dim, found), ranges) for dim in known[len(dims) :])
    last = max((n for n, extent in enumerate(source.shape) if extent != 1), default=None)
    affine = all(coefficient(dim, name) is not None for dim in place for name in ranges)
    if not affine or last is None or coefficient(place[-1], _index(last)) != 1:
        return None
    return Placement(source.shape, target.shape, place)


def _inverse(
    loops: Mapping[str, Dim], shape: Sequence[Dim], read: Sequence[Dim]
) -> dict[str, Dim] | None:
    """Each loop's index, made of the indices of the element that is read: the axes that it numbers
    are those of a row of as many; None where it is not so."""
    found: dict[str, Dim] = {}
    for name, extent in loops.items():
        axes = [n for n, dim in enumerate(read) if name in symbols(dim)]
        if product([shape[n] for n in axes]) != extent:
            return None
        found[name] = _linear([shape[n] for n in axes], [_index(n) for n in axes])
    ranges: Ranges = {_index(n): extent for n, extent in enumerate(shape)}
    for number, dim in enumerate(read):
        own = 0 if shape[number] == 1 else symbol(_index(number))
        back = simplify_dim(substitute_dim(dim, found), {**ranges})
        if substitute_dim(back, {_index(n): 0 for n in range(len(shape)) if shape[n] == 1}) != own:
            return None
    return found


def _index(number: int) -> str:
    return f"@{number}"


def _linear(extents: Sequence[Dim], names: Sequence[str]) -> Dim:
    """The number of an element of a row-major array of these extents."""
    number: Dim = 0
    for extent, name in zip(extents, names, strict=True):
        number = number * extent + symbol(name)
    return number


def _with(dim: Dim, names: Sequence[str], old: Dim, new: Dim) -> Dim | None:
    """A subscript in which a multiple of `old`, made of the indices `names`, is one of `new`."""
    used = [name for name in names if name in symbols(dim)]
    if not used:
        return dim
    factor = exact_quotient(coefficient(dim, names[-1]) or 0, coefficient(old, names[-1]) or 1)
    rest = None if factor is None else dim - old * factor
    if rest is None or factor is None or symbols(rest) & set(names):
        return None
    return rest + new * factor


def _alike(old: Sequence[Dim], new: Sequence[Dim]) -> list[tuple[list[int], list[int]]] | None:
    """Axes of two shapes that have as many elements: the least runs of both that correspond."""
    left = [n for n, extent in enumerate(old) if extent != 1]
    right = [n for n, extent in enumerate(new) if extent != 1]
    groups: list[tuple[list[int], list[int]]] = []
    while left and right:
        ours, theirs = [left.pop(0)], [right.pop(0)]
        while True:
            a, b = product([old[n] for n in ours]), product([new[n] for n in theirs])
            if a == b:
                break
            if provably_le(a, b) and left:
                ours.append(left.pop(0))
            elif provably_le(b, a) and right:
                theirs.append(right.pop(0))
            else:
                return None
        groups.append((ours, theirs))
    return None if left or right else groups


def _with_axes_apart(placement: Placement) -> Placement:
    """The whole in a shape in which each subscript is of one index, where there is one."""
    ranges = {_index(n): extent for n, extent in enumerate(placement.part)}
    axes = zip(placement.whole, placement.at, strict=True)
    apart = [pair for extent, dim in axes for pair in _apart(extent, dim, ranges)]
    whole, at = zip(*apart, strict=True) if apart else ((), ())
    return replace(placement, whole=tuple(whole), at=tuple(at))


def _apart(extent: Dim, dim: Dim, ranges: Ranges) -> Iterator[tuple[Dim, Dim]]:
    """(extent, subscript) of an axis, or of those into which a run of so many cuts it."""
    names = sorted(symbols(dim) & ranges.keys())
    for name in names if len(names) > 1 else ():
        run = coefficient(dim, name)
        outer = None if run is None or run == 1 else exact_quotient(extent, run)
        if run is None or outer is None:
            continue
        constant = substitute_dim(dim, dict.fromkeys(names, 0))
        start = exact_quotient(constant, run) if constant != 0 else 0
        others = [n for n in names if exact_quotient(coefficient(dim, n) or 0, run) is not None]
        factors = {n: exact_quotient(coefficient(dim, n) or 0, run) or 0 for n in others}
        high = sum((symbol(n) * factor for n, factor in factors.items()), start=0)
        low = dim - constant - high * run
        if start is not None and within(low, run, ranges):
            yield from _apart(outer, high + start, ranges)
            yield from _apart(run, low, ranges)
            return
    yield extent, dim
