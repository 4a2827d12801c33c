"""Random kernels of plain loops, as text, for what transforms them: nests, sums, private scratch.

Each reads `x: f32[8, 8]` and adds to or overwrites elements of `y: f32[8, 8]` and `v: f32[8]`, at
subscripts that may be shared by iterations, reversed, or the same in all of them. All are in range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

HEAD = "kernel k(x: f32[8, 8] in, y: f32[8, 8] inout, v: f32[8] inout) pointwise {"
DEPTH = 3
Buffers = tuple[tuple[str, int], ...]  # name, dimensions


@dataclass(frozen=True)
class _Scope:
    """What a statement may use; `depth` more loops may be around those in it."""

    depth: int = DEPTH
    indices: tuple[str, ...] = ()
    buffers: Buffers = (("y", 2), ("v", 1))
    lets: tuple[str, ...] = ()


class _Maker:
    def __init__(self, draw: st.DrawFn) -> None:
        self.draw, self.count = draw, 0

    def pick(self, *some: Any) -> Any:
        return self.draw(st.sampled_from(some))

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def place(self, scope: _Scope, buffers: Buffers) -> str:
        name, rank = self.pick(*buffers)
        return f"{name}[{', '.join(self.subscript(scope) for _ in range(rank))}]"

    def subscript(self, scope: _Scope) -> str:
        index = self.pick(*scope.indices * 3, "0", "3")
        return self.pick(*[index] * 3, f"7 - {index}")

    def number(self, scope: _Scope, deep: bool = True) -> str:
        match self.draw(st.integers(0, 4 if deep else 2)):
            case 0 if scope.lets:
                return self.pick(*scope.lets)
            case 0 | 1 | 2:
                return self.place(scope, (("x", 2), ("x", 2), *scope.buffers))
            case 3:
                return f"{self.number(scope, False)} * 0.5"
        return f"({self.number(scope, False)} {self.pick('+', '-')} {self.number(scope, False)})"

    def block(self, scope: _Scope, count: int) -> str:
        text = ""
        for _ in range(count):
            made, scope = self.statement(scope)
            text += made
        return text

    def statement(self, scope: _Scope) -> tuple[str, _Scope]:
        kind = self.draw(st.integers(0, 9))
        depth, indices, buffers, lets = scope.depth, scope.indices, scope.buffers, scope.lets
        if not indices or (depth and kind <= 3):
            return self.loop(scope), scope
        match kind:
            case 4:
                name = self.fresh("t")
                text = f"let {name}: f32 = {self.number(scope)}\n"
                return text, _Scope(depth, indices, buffers, (*lets, name))
            case 5 if depth:
                name = self.fresh("acc")
                text = f"alloc {name}: f32 register\n{name}[] = {self.number(scope)}\n"
                return text, _Scope(depth, indices, (*buffers, *[(name, 0)] * 3), lets)
            case 6 if depth:
                name, index = self.fresh("s"), self.fresh("i")
                value = self.number(_Scope(depth, (*indices, index), buffers, lets))
                text = f"alloc {name}: f32[8] scratch\nfor {index} in 0..8 "
                text += f"{{\n{name}[{index}] = {value}\n}}\n"
                return text, _Scope(depth, indices, (*buffers, *[(name, 1)] * 3), lets)
            case 7:
                condition = f"{self.pick(*indices)} < {self.pick('2', '5', *indices)}"
                inside = self.block(_Scope(0, indices, buffers, lets), 1)
                return f"if {condition} {{\n{inside}}}\n", scope
        place, value = self.place(scope, buffers), self.number(scope)
        return f"{place} = {self.pick(value, f'{place} + {value}')}\n", scope

    def loop(self, scope: _Scope) -> str:
        index = self.fresh("i")
        extent = self.pick("8", "8", "4", "2", *(f"{i} + 1" for i in scope.indices[-1:]))
        inner = _Scope(scope.depth - 1, (*scope.indices, index), scope.buffers, scope.lets)
        body = self.block(inner, self.pick(1, 1, 2, 3, 4))
        return f"for {index} in 0..{extent} {{\n{body}}}\n"


@st.composite
def nests(draw: st.DrawFn) -> str:
    """The text of a kernel."""
    maker = _Maker(draw)
    return f"{HEAD}\n{maker.block(_Scope(), draw(st.integers(1, 2)))}}}\n"
