"""Loops being filled: each statement goes to the outermost one that has what the statement uses.

In: statements, in the order in which they turn out to be needed. Out: a nest.

    with levels.loop("i", N):
        with levels.loop("j", M):                    for i in 0..N {
            with levels.at_home([Var("i")]):    →      let a = …
                emit(let a = …)                        for j in 0..M { y[i, j] = a }
            emit(y[i, j] = a)                        }
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from stepwell.ir.graph.core import Value
from stepwell.ir.loop.core import Alloc, Buffer, For, Let, Statement
from stepwell.ir.ranges import Ranges
from stepwell.ir.scalar import Expr, Load, Var, variables, walk
from stepwell.ir.size import Dim
from stepwell.ir.span import Span


@dataclass
class _Level:
    """A loop being filled: its index (None at the top), what it defines, what it computed."""

    index: str | None
    extent: Dim
    body: list[Statement] = field(default_factory=list)
    defines: set[str] = field(default_factory=set)
    memo: dict[object, Expr] = field(default_factory=dict)

    def append(self, statement: Statement) -> None:
        match statement:
            case Let(name=name):
                self.defines.add(name)
            case Alloc(buffer=buffer) if buffer.space == "register":
                self.defines.add(buffer.name)
        self.body.append(statement)


@dataclass
class Row:
    """A costly value kept in scratch: its buffer, and which of its subscripts it is stored by.

    `open` holds the indices of the loops that are storing it, until they have ended.
    """

    buffer: Buffer
    kept: tuple[int, ...]
    open: set[str] | None = None
    stored: bool = False


class Levels:
    """The loops around where statements are emitted; see the module's docstring."""

    def __init__(self, taken: Collection[str]) -> None:
        self.taken = set(taken)
        self.levels = [_Level(None, 1)]
        self.rows: dict[Value, Row] = {}
        self.span: Span | None = None

    def fresh(self, hint: str) -> str:
        """A name not used in this kernel."""
        name, count = hint, 2
        while name in self.taken:
            name, count = f"{hint}_{count}", count + 1
        self.taken.add(name)
        return name

    @property
    def ranges(self) -> Ranges:
        data: dict[str, Dim | None] = {
            name: None for level in self.levels for name in level.defines
        }
        return data | {level.index: level.extent for level in self.levels if level.index}

    def emit(self, statement: Statement) -> None:
        self.levels[-1].append(statement)

    @contextmanager
    def loop(self, name: str, extent: Dim) -> Iterator[Expr]:
        """A loop whose body is what is emitted inside the `with`."""
        level = _Level(name, extent, defines={name})
        self.levels.append(level)
        yield Var(name)
        self.levels.pop()
        self.emit(For(name, extent, "serial", tuple(level.body), self.span))
        for row in self.rows.values():
            if row.open is not None and name in row.open:
                row.open.discard(name)
                row.stored = not row.open

    @contextmanager
    def at_home(self, exprs: Sequence[Expr | None]) -> Iterator[None]:
        """Emit at the outermost level in which everything that `exprs` use exists."""
        used = frozenset().union(*(_names(e) for e in exprs if e is not None))
        depth = len(self.levels) - 1
        while depth and not used & self.levels[depth].defines:
            depth -= 1
        levels = self.levels
        self.levels = levels[: depth + 1]
        yield
        self.levels = levels


def _names(expr: Expr) -> frozenset[str]:
    """Variables, and the register buffers that are loaded."""
    return variables(expr) | {e.buffer for e in walk(expr) if isinstance(e, Load)}
