"""Whether a loop's iterations may run in any order and at once, and what each needs for itself.

In: a kernel, a loop of it. Out: the scratch buffers that must be private, or None: not independent.

    for i in 0..N {                                   independent, with `row` private
      for k in 0..K { row[k] = exp(x[i, k]) }
      for k_1 in 0..K { y[i, k_1] = row[k_1] }
    }

Each buffer that the loop writes is one of these, or the loop is not independent:

- *apart*: in every access one of the subscripts is c*i + r, where all r are among c numbers in a
  row: an iteration has a slice of its own. Two subscripts that are quotient and remainder count as
  what they are of. Accesses of parts that have nothing in common may have slices of their own.
- *private*: scratch that is allocated in the loop, or that nothing else uses and whose accesses
  depend neither on i nor on data. For then the first iteration, before which the scratch held
  nothing, reads only what it has written itself, and every other one does the same.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from stepwell.ir.dtypes import I64
from stepwell.ir.loop.analysis import (
    allocations,
    index_names,
    kernel_buffers,
    own_expressions,
    writes,
)
from stepwell.ir.loop.core import Alloc, Block, For, If, Kernel, Let, Store, statements
from stepwell.ir.ranges import Ranges, lower_bound, upper_bound
from stepwell.ir.scalar import (
    Binary,
    Expr,
    Horizontal,
    Load,
    as_dim,
    coefficient,
    substitute,
    variables,
    walk,
)
from stepwell.ir.size import (
    Dim,
    Size,
    floordiv,
    maximum,
    minimum,
    mod,
    provably_le,
    symbol,
    symbols,
)

Interval = tuple[int, int]


@dataclass(frozen=True)
class Access:
    """A load or store in a loop, its subscripts with index lets put in."""

    buffer: str
    indices: tuple[Expr, ...]
    loops: tuple[For, ...]  # those around it, inside the loop in question
    fixed: bool  # whether where and when it takes place is the same in every iteration
    limits: tuple[tuple[Dim, Dim], ...] = ()  # (x, y): it takes place where x < y only
    is_store: bool = False


def independent(kernel: Kernel, loop: For) -> frozenset[str] | None:
    """The scratch that each iteration needs for itself; None where they depend on each other."""
    own = {buffer.name for buffer in allocations(loop.body)}
    buffers = kernel_buffers(kernel)
    written = writes(loop.body) - own
    found = list(accesses(loop, written))
    private = {name for name in own if buffers[name].space == "scratch"}
    for name in sorted(written):
        if buffers[name].space == "register":
            return None
        uses = [access for access in found if access.buffer == name]
        if are_apart(kernel, loop, uses):
            continue
        if buffers[name].space != "scratch" or not _private(kernel, loop, name, uses):
            return None
        private.add(name)
    return frozenset(private)


def accesses(loop: For, buffers: Container[str]) -> Iterator[Access]:
    """Every load and store of these buffers in the loop."""
    yield from _Walk(loop.index, buffers).block(loop.body)


def accesses_in(block: Block, buffers: Container[str]) -> Iterator[Access]:
    """Every load and store of these buffers in a block that no loop is around."""
    yield from _Walk("", buffers).block(block)


@dataclass(frozen=True)
class _Walk:
    """What is around a statement."""

    index: str
    buffers: Container[str]  # those in question
    loops: tuple[For, ...] = ()
    lets: Mapping[str, Expr] | None = None  # those that are integer arithmetic
    limits: tuple[tuple[Dim, Dim], ...] = ()
    varying: frozenset[str] = frozenset()  # names whose values depend on the iteration, or on data
    fixed: bool = True

    def block(self, block: Block) -> Iterator[Access]:
        at = self
        for statement in block:
            for expr in own_expressions(statement):
                yield from at.loads(expr)
            match statement:
                case Store(buffer=buffer, indices=indices) if buffer in self.buffers:
                    yield replace(at.access(buffer, indices, at.fixed), is_store=True)
                case For(index=index, extent=extent, body=body):
                    inside = replace(at, loops=(*at.loops, statement))
                    if at.varies(symbols(extent)):
                        inside = replace(inside, varying=at.varying | {index}, fixed=False)
                    yield from inside.block(body)
                case If(condition=condition, then=then, otherwise=otherwise):
                    inside = replace(at, fixed=at.fixed and at.steady(condition))
                    limits = (*at.limits, *at.limits_of(condition))
                    yield from replace(inside, limits=limits).block(then)
                    yield from inside.block(otherwise)
                case Let(name=name, value=value):
                    at = at.let(name, value)

    def let(self, name: str, value: Expr) -> _Walk:
        at = self
        if not self.steady(value):
            at = replace(at, varying=at.varying | {name})
        value = self.plain(value)
        if value.dtype == I64 and as_dim(value) is not None:
            at = replace(at, lets={**(at.lets or {}), name: value})
        return at

    def limits_of(self, condition: Expr) -> Iterator[tuple[Dim, Dim]]:
        """The x < y that hold where the condition does."""
        match condition:
            case Binary(op="and", x=x, y=y):
                yield from self.limits_of(x)
                yield from self.limits_of(y)
            case Binary(op="lt", x=x, y=y) if x.dtype == I64:
                left, right = as_dim(self.plain(x)), as_dim(self.plain(y))
                if left is not None and right is not None:
                    yield left, right

    def loads(self, expr: Expr) -> Iterator[Access]:
        for part in walk(expr):
            if not isinstance(part, (Load, Horizontal)) or part.buffer not in self.buffers:
                continue
            if isinstance(part, Load):
                steady = part.guard is None or self.steady(part.guard)
                yield self.access(part.buffer, part.indices, self.fixed and steady)
            else:
                yield Access(part.buffer, (), self.loops, self.fixed)

    def access(self, buffer: str, indices: Sequence[Expr], fixed: bool) -> Access:
        fixed = fixed and all(map(self.steady, indices))
        return Access(buffer, tuple(map(self.plain, indices)), self.loops, fixed, self.limits)

    def plain(self, expr: Expr) -> Expr:
        return substitute(expr, dict(self.lets)) if self.lets else expr

    def varies(self, names: frozenset[str]) -> bool:
        return bool(names & self.varying) or self.index in names

    def steady(self, expr: Expr) -> bool:
        """Whether the value is the same in every iteration, and for all data."""
        if self.varies(variables(expr)):
            return False
        return as_dim(expr) is not None or not any(
            isinstance(part, (Load, Horizontal)) for part in walk(expr)
        )


# ---------------------------------------------------------------------- private


def _private(kernel: Kernel, loop: For, name: str, uses: Sequence[Access]) -> bool:
    inside = sum(1 for _ in _mentions((loop,), name))
    everywhere = sum(1 for _ in _mentions(kernel.body, name))
    return inside == everywhere and all(access.fixed for access in uses)


def _mentions(block: Block, name: str) -> Iterator[object]:
    for statement in statements(block):
        if isinstance(statement, Store) and statement.buffer == name:
            yield statement
        for expr in () if isinstance(statement, Alloc) else own_expressions(statement):
            yield from (e for e in walk(expr) if isinstance(e, Load) and e.buffer == name)


# ---------------------------------------------------------------------- apart


def are_apart(kernel: Kernel, loop: For, uses: Sequence[Access]) -> bool:
    """Whether iterations touch different slices of one axis, the same axis in all accesses."""
    known = known_names(kernel)

    def slices(access: Access) -> Iterator[tuple[object, Slice]]:
        ranges = ranges_of(access.loops)
        for axis, dim in subscripts(known, access):
            found = slice_of(dim, loop.index, ranges, access.limits)
            if found is not None:
                yield axis, found

    return all(share_an_axis(map(slices, part)) for part in _parts(known, loop, uses))


def _parts(known: Set[str], loop: For, uses: Sequence[Access]) -> list[list[Access]]:
    """Accesses by parts of the buffer that have nothing in common in any iteration: on the first
    axis on which there are several such."""
    touched = [dict(_intervals(known, loop, access)) for access in uses]
    for axis in touched[0] if touched else ():
        if all(axis in own for own in touched):
            order = sorted(range(len(uses)), key=lambda n: touched[n][axis])
            found, end = [[uses[order[0]]]], touched[order[0]][axis][1]
            for number in order[1:]:
                low, high = touched[number][axis]
                found += [[]] if low > end else []
                found[-1].append(uses[number])
                end = max(end, high)
            if len(found) > 1:
                return found
    return [list(uses)]


def _intervals(known: Set[str], loop: For, access: Access) -> Iterator[tuple[object, Interval]]:
    """The first and the last number that each subscript is in all of the loop."""
    ranges = ranges_of((loop, *access.loops))
    for axis, dim in subscripts(known, access):
        low, high = lower_bound(dim, ranges), upper_bound(dim, ranges)
        if isinstance(low, int) and isinstance(high, int):
            yield axis, (low, high)


@dataclass(frozen=True)
class Slice:
    """What an iteration touches of an axis: factor*i + low to factor*i + high."""

    factor: Dim
    low: Dim
    high: Dim

    @property
    def is_apart(self) -> bool:
        """Whether it is no longer than the way from one iteration to the next."""
        return provably_le(self.high - self.low + 1, self.factor)

    def joined(self, other: Slice) -> Slice | None:
        """Both, where that is still a slice."""
        low, high = minimum(self.low, other.low), maximum(self.high, other.high)
        both = Slice(self.factor, low, high)
        return both if self.factor == other.factor and both.is_apart else None


def share_an_axis(accesses: Iterable[Iterable[tuple[object, Slice]]]) -> bool:
    """Whether iterations are apart on one and the same axis in all accesses."""
    common: dict[object, Slice] | None = None
    for slices in accesses:
        own = dict(slices)
        if common is None:
            common = own
            continue
        joined = {k: common[k].joined(own[k]) for k in common.keys() & own.keys()}
        common = {k: both for k, both in joined.items() if both is not None}
    return bool(common)


def slice_of(
    dim: Dim, index: str, ranges: Ranges, limits: Sequence[tuple[Dim, Dim]] = ()
) -> Slice | None:
    """c, and the bounds of r, where dim = c*index + r and r takes at most c values in a row."""
    factor = coefficient(dim, index)
    if factor is None or not provably_le(1, factor):
        return None
    rest = dim - factor * symbol(index)
    low, high = lower_bound(rest, ranges), upper_bound(rest, ranges)
    for left, right in limits:
        if left == rest and high is not None and not symbols(right) & ranges.keys():
            high = minimum(high, right - 1)
    if low is None or high is None or index in symbols(low) | symbols(high):
        return None
    found = Slice(factor, low, high)
    return found if found.is_apart else None


def ranges_of(loops: Sequence[For]) -> dict[str, Dim | None]:
    """The loops' indices with bounds of their extents, numbers where there are any."""
    return {loop.index: most(loop.extent) for loop in loops}


def most(extent: Dim) -> Dim:
    """A number that `min(5, …)` does not exceed; the extent where it is no such."""
    if isinstance(extent, Size) and len(extent.terms) == 1 and extent.terms[0][1] == 1:
        monomial = extent.terms[0][0]
        if len(monomial) == 1 and monomial[0].function == "min":
            bounds = [most(monomial[0].left), most(monomial[0].right)]
            numbers = [bound for bound in bounds if isinstance(bound, int)]
            return min(numbers) if numbers else extent
    return extent


def known_names(kernel: Kernel) -> frozenset[str]:
    """The kernel's sizes and loop indices: what a subscript that is a dim is made of."""
    return frozenset((*kernel.sizes, *index_names(kernel.body)))


def subscripts(known: Set[str], access: Access) -> Iterator[tuple[object, Dim]]:
    """(which, dim) for each subscript over known sizes and indices; and for neighbours that are
    s // w and s % w, s as one."""
    found = [as_dim(index) for index in access.indices]
    dims = [dim if dim is not None and symbols(dim) <= known else None for dim in found]
    for axis, dim in enumerate(dims):
        if dim is not None:
            yield axis, dim
    for axis, (high, low) in enumerate(pairwise(dims)):
        whole = None if high is None or low is None else _rejoined(high, low)
        if whole is not None:
            yield (axis, whole[0]), whole[1]


def _rejoined(high: Dim, low: Dim) -> tuple[Dim, Dim] | None:
    """(w, w*q + s) where high = q + s // w and low = s % w."""
    if not isinstance(high, Size):
        return None
    for monomial, factor in high.terms:
        if factor == 1 and len(monomial) == 1 and monomial[0].function == "floordiv":
            inner, width = monomial[0].left, monomial[0].right
            if mod(inner, width) == low:
                return width, width * (high - floordiv(inner, width)) + inner
    return None
