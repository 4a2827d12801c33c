"""What each call of a kernel has to do, whatever code does it, and where its data lie.

In: a compilation and the sizes of a run. Out: a `Work` per step, a call or several that are
together: operations, functions, bytes to be
read and written once, each with its *reuse distance*: how many bytes the run touches since those
were touched last, the run before included. A cache that holds the distance still holds the data.

    call f(x, w, h)        h was written by the call before: at a distance of h;
    call g(h, v, y)        v lies at the distance of all that one run touches
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stepwell.compilation import Compilation
from stepwell.ir.loop.analysis import own_expressions
from stepwell.ir.loop.core import THREADS, Block, Call, For, If, Program
from stepwell.ir.scalar import COST, Binary, Unary, walk
from stepwell.ir.size import evaluate, symbols


@dataclass(frozen=True)
class Traffic:
    """Bytes of an operand, read or written once, and how long ago they were touched."""

    bytes: int
    written: bool
    distance: int


@dataclass(frozen=True)
class Work:
    """One call of a kernel, or of several. `functions`: how often exp, div, … are applied."""

    name: str
    family: str
    ops: tuple[str, ...]
    flops: int
    traffic: tuple[Traffic, ...]
    functions: Mapping[str, int]
    forks: int = 0  # parallel loops, each time that one is entered

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.traffic)


def work_of(compilation: Compilation, inputs: Mapping[str, int], threads: int = 1) -> list[Work]:
    """The work of every step of a run, in order."""
    program, sizes = compilation.program, {**inputs, THREADS: threads}
    naive = {kernel.name: kernel for kernel in compilation.naive_program.kernels}
    touched = [
        [place for call in step for place in _touched(program, call, sizes)]
        for step in program.steps
    ]
    found = []
    for number, step in enumerate(program.steps):
        traffic = tuple(
            Traffic(size, written, _distance(touched, number, place))
            for place, size, written in touched[number]
        )
        parts = []
        for call in step:
            kernel = program.kernel(call.kernel)
            bound = {n: evaluate(d, sizes) for n, d in zip(kernel.sizes, call.sizes, strict=True)}
            functions = _functions(naive.get(kernel.name, kernel).body, bound)
            flops, forks = evaluate(kernel.flops, bound), _forks(kernel.body, bound)
            parts.append(Work(kernel.name, kernel.family, kernel.ops, flops, (), functions, forks))
        found.append(replace(_together(parts, threads), traffic=traffic))
    return found


def _together(parts: Sequence[Work], threads: int) -> Work:
    """The work of calls that are together: one fork, where there are threads."""
    if len(parts) == 1:
        return parts[0]
    functions: Counter[str] = Counter()
    for part in parts:
        functions.update(part.functions)
    return Work(
        " + ".join(part.name for part in parts), parts[0].family,
        tuple(op for part in parts for op in part.ops), sum(part.flops for part in parts), (),
        functions, int(threads > 1),
    )  # fmt: skip


def _touched(
    program: Program, call: Call, sizes: Mapping[str, int]
) -> Iterator[tuple[object, int, bool]]:
    """(place, bytes, whether written) of each operand; one that is read and written comes twice."""
    for parameter, name in zip(program.kernel(call.kernel).parameters, call.arguments, strict=True):
        item = program.buffer(name)
        size = evaluate(item.buffer.bytes, sizes)
        place = name if item.offset is None else ("workspace", item.offset)
        if parameter.role != "out":
            yield place, size, False
        if parameter.role in ("out", "inout"):
            yield place, size, True


def _distance(touched: list[list[tuple[object, int, bool]]], number: int, place: object) -> int:
    """Bytes of what is touched from this call back to the one that touched the place before."""
    places: dict[object, int] = {}
    for back in range(len(touched) + 1):
        step = touched[(number - back) % len(touched)]
        for other, size, _ in step:
            places[other] = max(size, places.get(other, 0))
        if back and any(other == place for other, _, _ in step):
            break
    return sum(places.values())


def _functions(block: Block, sizes: Mapping[str, int]) -> Counter[str]:
    """How often each function dearer than a few instructions is applied to floats."""
    found: Counter[str] = Counter()
    for statement in block:
        for expr in own_expressions(statement):
            found.update(
                x.op for x in walk(expr)
                if isinstance(x, Unary | Binary) and x.op in COST and x.dtype.is_float
            )  # fmt: skip
        match statement:
            case For(index=index, extent=extent, body=body):
                times = max(0, evaluate(extent, sizes))
                inside = _functions(body, {**sizes, index: times // 2})
                found.update({name: count * times for name, count in inside.items()})
            case If(then=then, otherwise=otherwise):
                found.update(_functions(then, sizes) + _functions(otherwise, sizes))
    return found


def _forks(block: Block, sizes: Mapping[str, int]) -> int:
    """How often threads are woken: parallel loops of more than one turn, each time it is met."""
    count = 0
    for statement in block:
        match statement:
            case For(index=index, extent=extent, kind=kind, body=body):
                turns = evaluate(extent, {**dict.fromkeys(symbols(extent), 0), **sizes})
                if kind == "parallel":
                    count += turns > 1
                elif kind == "serial":
                    count += turns * _forks(body, {**sizes, index: 0})
            case If(then=then, otherwise=otherwise):
                count += max(_forks(then, sizes), _forks(otherwise, sizes))
    return count
