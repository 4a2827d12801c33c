"""The pass `place_parts`: what is only copied to its place in a larger array is computed there.

    call matmul(x, a, t)                              call matmul(x, a, out)
    call matmul_2(x, b, u)                            call matmul_2(x, b, out)
    call concat(t, u, out)                       →

    kernel matmul(…, y: f32[N, 96] out) {             kernel matmul(…, y: f32[N, 192] out) {
      …  y[i, j] = acc[]                                …  y[i, j] = acc[]
    }                                                 }
    kernel matmul_2(…, y: f32[N, 96] out) {           kernel matmul_2(…, y: f32[N, 192] out) {
      …  y[i, j] = acc[]                                …  y[i, j + 96] = acc[]
    }                                                 }
    kernel concat(t: … in, u: … in, out: … out) {
      for i … { out[i, j] = t[i, j] }
      for i … { out[i, j + 96] = u[i, j] }
    }

That is so for a temporary of which a nest of its own puts each element into a temporary or an
output (`placement.py`). All others that read it, read it there. A call that writes several parts
has one argument for them. Where one reads a part and writes another, or two nests copy one array,
that is copied as it was. Kernels are naive nests, of one call each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from stepwell.ir.loop.analysis import (
    map_expressions,
    map_statements,
    reads,
    rename_buffers,
    taken_names,
)
from stepwell.ir.loop.core import Block, Call, Kernel, Prefetch, Program, Statement, Store
from stepwell.ir.scalar import Expr, Load
from stepwell.ir.size import product, symbol, symbols
from stepwell.lowering.fusion_group import nominal
from stepwell.lowering.placement import Placement, placement
from stepwell.lowering.transforms.navigate import rewrite


@dataclass(frozen=True)
class PlaceParts:
    """Let producers write where a copy would put it. See the module's docstring."""

    name: ClassVar[str] = "place_parts"
    kind: ClassVar[str] = "loop"

    def run(self, program: Program) -> Program:
        return _Parts(program).run()


@dataclass(frozen=True)
class _Copy:
    """A nest of a call's kernel that puts the array `part` into the array `whole`."""

    call: int
    nest: Statement
    part: str
    whole: str
    placement: Placement


def _elements(copy: _Copy) -> int:
    """Of what is copied: where not all parts can be placed, the largest are."""
    return nominal(product(copy.placement.part))


class _Parts:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.calls: dict[int, Call] = dict(enumerate(program.calls))
        self.kernels = {kernel.name: kernel for kernel in program.kernels}
        self.roles = {item.buffer.name: item.role for item in program.buffers}
        self.users: dict[str, set[int]] = {}
        self.writers: dict[str, set[int]] = {}
        for number, call in self.calls.items():
            for parameter, name in zip(self._kernel(call).parameters, call.arguments, strict=True):
                self.users.setdefault(name, set()).add(number)
                if parameter.is_written:
                    self.writers.setdefault(name, set()).add(number)
        self.once = {name for name, numbers in self.writers.items() if len(numbers) == 1}
        counts = [call.kernel for call in (*program.calls, *program.preparations)]
        self.own = {number for number, c in self.calls.items() if counts.count(c.kernel) == 1}
        self.gone: set[str] = set()

    def run(self) -> Program:
        for number in list(self.calls):
            for copy in sorted(self._copies(number), key=_elements, reverse=True):
                self._place(copy)
        if not self.gone:
            return self.program
        calls = tuple(self.calls.values())
        used = {call.kernel for call in (*calls, *self.program.preparations)}
        return replace(
            self.program,
            buffers=tuple(b for b in self.program.buffers if b.buffer.name not in self.gone),
            calls=calls,
            kernels=tuple(kernel for name, kernel in self.kernels.items() if name in used),
        )

    def _kernel(self, call: Call) -> Kernel:
        return self.kernels[call.kernel]

    # ------------------------------------------------------------------ what is copied

    def _copies(self, number: int) -> Iterator[_Copy]:
        """The nests of a call that do nothing but put a part into what the call alone writes."""
        call = self.calls[number]
        parameters = self._kernel(call).parameters
        given = list(zip((p.buffer for p in parameters), call.arguments, strict=True))
        wholes = [pair for pair in given if self._is_whole(pair[1], number)]
        parts = [pair for pair in given if self._is_part(pair[1])]
        for nest in self._kernel(call).body if wholes else ():
            for target, whole in wholes:
                for source, part in parts:
                    found = placement(nest, source, target)
                    if found is not None:
                        yield _Copy(number, nest, part, whole, found)

    def _is_whole(self, name: str, number: int) -> bool:
        right = self.roles[name] in ("temporary", "output") and name in self.once
        return right and number in self.writers[name]

    def _is_part(self, name: str) -> bool:
        return self.roles[name] == "temporary" and name in self.once

    # ------------------------------------------------------------------ placing one

    def _place(self, copy: _Copy) -> None:
        """Give what touches the part the whole in its stead, where all of them can."""
        others = self.users[copy.part] - {copy.call}
        if not self.writers[copy.part] <= others:
            return
        left = self._without(copy)
        placed = {number: self._placed(number, copy) for number in others}
        changed = {number: kernel for number, kernel in placed.items() if kernel is not None}
        if left is None or len(changed) < len(placed):
            return
        for number, kernel in changed.items():
            names = [copy.whole if n == copy.part else n for n in self.calls[number].arguments]
            if names.count(copy.whole) > 1:  # of two parts the first argument is left
                names.pop(len(names) - 1 - names[::-1].index(copy.whole))
            self._replace(number, kernel, tuple(names))
        self.gone.add(copy.part)
        self.users[copy.whole] |= others
        self.writers[copy.whole] |= self.writers.pop(copy.part)
        del self.users[copy.part]
        arguments = tuple(n for n in self.calls[copy.call].arguments if n != copy.part)
        self._replace(copy.call, left, arguments)
        if not left.body:
            del self.calls[copy.call]
            for name in set(arguments):
                self.users[name].discard(copy.call)
                self.writers.get(name, set()).discard(copy.call)

    def _replace(self, number: int, kernel: Kernel, arguments: tuple[str, ...]) -> None:
        self.kernels[kernel.name] = kernel
        sizes = tuple(symbol(name) for name in kernel.sizes)
        self.calls[number] = replace(self.calls[number], sizes=sizes, arguments=arguments)

    def _without(self, copy: _Copy) -> Kernel | None:
        """The kernel without the nest; None where it needs the part all the same."""
        call = self.calls[copy.call]
        kernel = self._kernel(call)
        body = tuple(statement for statement in kernel.body if statement is not copy.nest)
        arguments = zip(kernel.parameters, call.arguments, strict=True)
        source = {p.buffer.name for p, name in arguments if name == copy.part}
        if not self._is_naive(copy.call) or len(source) > 1 or source & reads(body):
            return None
        parameters = tuple(p for p in kernel.parameters if p.buffer.name not in source)
        return replace(kernel, parameters=parameters, body=body)

    def _placed(self, number: int, copy: _Copy) -> Kernel | None:
        """The kernel of a call with the whole in the part's stead."""
        call = self.calls[number]
        kernel = self._kernel(call)
        if call.arguments.count(copy.part) > 1 or not self._is_naive(number):
            return None
        at = call.arguments.index(copy.part)
        parameter = kernel.parameters[at]
        found = copy.placement.seen_as(parameter.buffer.shape)
        if found is None or parameter.role == "inout":
            return None
        needed = frozenset[str]().union(*map(symbols, found.whole))
        if (needed - set(kernel.sizes)) & taken_names(kernel):
            return None
        buffer = replace(parameter.buffer, shape=found.whole)
        parameters = list(kernel.parameters)
        parameters[at] = replace(parameter, buffer=buffer)
        known = needed | set(kernel.sizes)
        placed = replace(
            kernel,
            sizes=tuple(name for name in self.program.sizes if name in known),
            parameters=tuple(parameters),
            body=_with_places(kernel.body, buffer.name, found),
        )
        if number not in self.users[copy.whole]:
            return placed
        return _as_one(placed, call.arguments.index(copy.whole), at)

    def _is_naive(self, number: int) -> bool:
        """Whether the kernel is the call's own, and its sizes are the program's."""
        call = self.calls[number]
        same = tuple(symbol(name) for name in self._kernel(call).sizes) == call.sizes
        return number in self.own and same and not call.beside


def _as_one(kernel: Kernel, whole: int, part: int) -> Kernel | None:
    """The kernel with one parameter for two parts of one array that it writes, in the place of the
    first; None where it reads one, or sees the array in two shapes."""
    ours, theirs = kernel.parameters[whole], kernel.parameters[part]
    if ours.role != "out" or theirs.role != "out" or ours.buffer.type != theirs.buffer.type:
        return None
    gone = max(whole, part)
    old, kept = kernel.parameters[gone].buffer.name, kernel.parameters[min(whole, part)].buffer.name
    parameters = (*kernel.parameters[:gone], *kernel.parameters[gone + 1 :])
    body = rename_buffers(kernel.body, {old: kept})
    return replace(kernel, parameters=parameters, body=body)


def _with_places(body: Block, name: str, placement: Placement) -> Block:
    """Every access of a buffer at its place in the whole."""

    def in_expr(expr: Expr) -> Expr:
        if isinstance(expr, Load) and expr.buffer == name:
            return replace(expr, indices=placement.place(expr.indices))
        return expr

    def in_statement(statement: Statement) -> Statement:
        match statement:
            case Store(buffer=to) | Prefetch(buffer=to) if to == name:
                return replace(statement, indices=placement.place(statement.indices))
        return statement

    body = map_expressions(body, lambda expr: rewrite(expr, in_expr))
    return map_statements(body, in_statement)
