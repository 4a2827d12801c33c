"""Random kernels that keep the rules: a Hypothesis strategy shared by the loop IR's tests.

Each has the sizes N and M, reads `x: f32[N, M]` and `ids: i64[N]`, and writes `y: f32[N, M]`.
Every kernel it makes verifies and runs: subscripts are in range or guarded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from stepwell.ir.dtypes import BOOL, F32, I8, I64
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    KernelParameter,
    Let,
    Prefetch,
    Statement,
    Store,
)
from stepwell.ir.scalar import (
    Binary,
    Cast,
    Const,
    Expr,
    Horizontal,
    Load,
    Select,
    Unary,
    Var,
    from_dim,
    index,
)
from stepwell.ir.size import Dim, ceildiv, symbol

N, M = symbol("N"), symbol("M")
LANES = 4


@dataclass
class _Maker:
    """Draws statements; `numbers` and `indices` are the names in scope."""

    draw: st.DrawFn
    exact: bool
    count: int = 0
    numbers: list[str] = field(default_factory=list)
    indices: list[str] = field(default_factory=list)

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def flip(self) -> bool:
        return self.draw(st.booleans())

    # ------------------------------------------------------------------ expressions

    def position(self) -> tuple[Expr, Expr, Expr]:
        """Two subscripts, any integers, and the condition under which they are inside."""
        names = [*(Var(name) for name in self.indices), index(self.draw(st.integers(-2, 5)))]
        i: Expr = self.draw(st.sampled_from(names))
        j: Expr = Binary("add", self.draw(st.sampled_from(names)), index(1))
        i = Load("ids", (index(0),), I64, Binary("lt", index(0), Var("N"))) if self.flip() else i
        return i, j, _all_of(_inside(i, N), _inside(j, M))

    def number(self, depth: int) -> Expr:
        kind = self.draw(st.integers(0, 8 if depth else 2))
        if kind == 0:
            return Const(self.draw(st.floats(-8, 8, width=32)), F32)
        if kind == 1 and self.numbers:
            return Var(self.draw(st.sampled_from(self.numbers)), F32)
        if kind <= 3:
            i, j, inside = self.position()
            return Load("x", (i, j), F32, inside)
        if kind == 4:
            rounded = [] if self.exact else ["exp", "tanh"]
            op = self.draw(st.sampled_from(["neg", "abs", "floor", "sign", *rounded]))
            return Unary(op, self.number(depth - 1))
        if kind == 5:
            return Select(self.condition(depth - 1), self.number(depth - 1), self.number(depth - 1))
        if kind == 6:
            return Cast(Cast(self.number(depth - 1), I8), F32)
        rounded = [] if self.exact else ["mod"]
        op = self.draw(st.sampled_from(["add", "sub", "mul", "div", "min", "max", *rounded]))
        return Binary(op, self.number(depth - 1), self.number(depth - 1))

    def condition(self, depth: int) -> Expr:
        kind = self.draw(st.integers(0, 3))
        if kind == 0 and depth:
            return Unary("not", self.condition(depth - 1))
        if kind == 1 and depth:
            op = self.draw(st.sampled_from(["and", "or", "xor"]))
            return Binary(op, self.condition(depth - 1), self.condition(depth - 1))
        if kind == 2 and self.indices:
            name = self.draw(st.sampled_from(self.indices))
            return Binary("lt", Var(name), index(self.draw(st.integers(0, 3))))
        return Binary("le", self.number(0), self.number(0))

    # ------------------------------------------------------------------ statements

    def block(self, depth: int, lanes: bool) -> Block:
        numbers = list(self.numbers)
        made: list[Statement] = []
        for _ in range(self.draw(st.integers(1, 3))):
            made += self.statement(depth, lanes)
        self.numbers = numbers
        return tuple(made)

    def statement(self, depth: int, lanes: bool) -> list[Statement]:
        kind = self.draw(st.integers(0, 6 if depth else 2))
        if kind == 0:
            name = self.fresh("t")
            let = Let(name, self.number(2))
            self.numbers.append(name)
            return [let]
        if kind in (1, 2):
            i, j, inside = self.position()
            return [If(inside, (Store("y", (i, j), self.number(2), stream=self.flip()),))]
        if kind == 3:
            otherwise = self.block(depth - 1, lanes) if self.flip() else ()
            return [If(self.condition(1), self.block(depth - 1, lanes), otherwise)]
        if kind == 4 and not lanes:
            return self.vector_sum(depth)
        if kind == 5:
            return [Check(Binary("or", self.condition(1), Const(True, BOOL)), "never")]
        if kind == 6 and self.indices and not lanes and self.flip():
            i = Var(self.draw(st.sampled_from(self.indices)))
            return [Prefetch("x", (Binary("add", i, index(self.draw(st.integers(-2, 9)))), i))]
        extent: Dim = self.draw(st.sampled_from([2, 3] if lanes else [0, 3, N, ceildiv(M, 4)]))
        kinds = ["unrolled"] if lanes else ["serial", "unrolled"] if extent == 3 else ["serial"]
        return [self.loop(extent, self.draw(st.sampled_from(kinds)), depth, lanes)]

    def loop(self, extent: Dim, kind: str, depth: int, lanes: bool) -> For:
        name = self.fresh("i")
        self.indices.append(name)
        body = self.block(depth - 1, lanes)
        self.indices.remove(name)
        return For(name, extent, kind, body)  # type: ignore[arg-type]

    def vector_sum(self, depth: int) -> list[Statement]:
        """A vector loop that adds into lanes, then the lanes' sum."""
        acc, lane, start, total = (self.fresh(prefix) for prefix in ("acc", "l", "l", "t"))
        zero = Store(acc, (Var(start),), Const(0.0, F32))
        first = For(start, LANES, "vector", (zero,))
        self.indices.append(lane)
        inner = self.block(depth - 1, True)
        old = Load(acc, (Var(lane),), F32)
        add = Store(acc, (Var(lane),), Binary("add", old, self.number(1)))
        self.indices.remove(lane)
        second = For(lane, LANES, "vector", (*inner, add))
        alloc = Alloc(Buffer(acc, F32, (LANES,), "register"))
        self.numbers.append(total)
        return [alloc, first, second, Let(total, Horizontal("sum", acc, F32))]


def _inside(subscript: Expr, extent: Dim) -> Expr:
    low, high = Binary("le", index(0), subscript), Binary("lt", subscript, from_dim(extent))
    return Binary("and", low, high)


def _all_of(left: Expr, right: Expr) -> Expr:
    return Binary("and", left, right)


@st.composite
def kernels(draw: st.DrawFn, exact: bool = False) -> Kernel:
    """A kernel that verifies and runs for any sizes.

    Where `exact`, only with operations that every machine does alike, bit for bit.
    """
    maker = _Maker(draw, exact)
    parameters = (
        KernelParameter(Buffer("x", F32, (N, M)), "in"),
        KernelParameter(Buffer("ids", I64, (N,)), "in"),
        KernelParameter(Buffer("y", F32, (N, M)), "inout"),
    )
    body = maker.block(3, False)
    return Kernel("random", ("N", "M"), parameters, body, "pointwise", ("op",), 3 * N)
