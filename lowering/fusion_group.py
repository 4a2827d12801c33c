"""A kernel in the making: which ops it holds, and how each value is read in its loops.

In: ops, last first. Out: for every value that the group reads, the *stage* that reads it and the
subscripts, over the loops of that stage. A stage is a loop nest: that of the group's results, or
that of a reduction in it, or that of a part where the results are parts joined; ops without a
reduction have none of their own, they are computed where they are read.

    softmax over [i, j]:   exp is read by the results at (i, j), by the sum at (i, k), k reduced
                           the sum is read by the results at (i)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from stepwell.ir.graph.core import Op, Value
from stepwell.ir.loop.core import THREADS
from stepwell.ir.ranges import simplify
from stepwell.ir.scalar import (
    Cast,
    Const,
    Expr,
    Formula,
    Load,
    Reduce,
    Var,
    index,
    loads,
    map_children,
    substitute,
    variables,
)
from stepwell.ir.size import Dim, evaluate, symbols
from stepwell.lowering.parts import joins_runs

PART = "part"  # the family of a stage that makes a part of the group's results
NOMINAL = 64  # what an unknown size counts as when costs are compared
NOMINAL_THREADS = 4


def nominal(dim: Dim) -> int:
    """The dim with every symbol at its nominal size."""
    return evaluate(dim, {**dict.fromkeys(symbols(dim), NOMINAL), THREADS: NOMINAL_THREADS})


def root_reduction(formula: Formula) -> Reduce | None:
    """The reduction that is the whole formula, casts of its result aside."""
    expr = formula.value
    while isinstance(expr, Cast):
        expr = expr.x
    return expr if isinstance(expr, Reduce) else None


@dataclass(frozen=True)
class Stage:
    """One nest. The first `parallel` of its axes number its results; the others are reduced.

    `to_root` leads from a parallel axis to the axis of the group's results that it is.
    """

    value: Value
    axes: tuple[tuple[str, Dim], ...]
    parallel: int
    family: str
    to_root: Mapping[str, str]

    @property
    def extents(self) -> Mapping[str, Dim]:
        return dict(self.axes)

    def evaluations(self, subscripts: Sequence[Expr], hoists: bool) -> int:
        """How often a value read at the subscripts is computed: once per element of the stage, or
        once per turn of the innermost loop that the subscripts use where the nest hoists."""
        used: frozenset[str] = frozenset().union(*map(variables, subscripts))
        depth = max((i + 1 for i, (name, _) in enumerate(self.axes) if name in used), default=0)
        if depth and not hoists:
            depth = len(self.axes)
        count = 1
        for _, extent in self.axes[:depth]:
            count *= max(1, nominal(extent))
        return count


@dataclass(frozen=True)
class Read:
    """A value read in a stage's loops."""

    stage: Stage
    subscripts: tuple[Expr, ...]

    def plain(self, shape: Sequence[Dim]) -> tuple[str | None, ...] | None:
        """The parallel axis, of the same extent, that each subscript is; None for the 0 of an axis
        of size 1. None altogether where some subscript is anything else or an axis comes twice.
        """
        parallel = dict(self.stage.axes[: self.stage.parallel])
        found: list[str | None] = []
        for subscript, extent in zip(self.subscripts, shape, strict=True):
            if isinstance(subscript, Var) and parallel.get(subscript.name) == extent:
                if subscript.name in found:
                    return None
                found.append(subscript.name)
            elif isinstance(subscript, Const) and subscript.value == 0 and extent == 1:
                found.append(None)
            else:
                return None
        return tuple(found)


@dataclass(eq=False)
class Group:
    """Ops that will be one kernel; see the module's docstring."""

    number: int
    results: list[Value] = field(default_factory=list)
    members: dict[Value, Op] = field(default_factory=dict)
    reads: dict[Value, list[Read]] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    family: str = "pointwise"
    rows: frozenset[str] | None = None
    depths: dict[Value, int] = field(default_factory=dict)  # ops between a value and the results

    @property
    def root(self) -> Stage:
        return self.stages[0]

    def start(self, value: Value) -> None:
        """Make `value` the group's result."""
        axes = tuple((f"{i}@{self.number}", e) for i, e in enumerate(value.type.shape))
        root = Stage(value, axes, len(axes), "pointwise", {name: name for name, _ in axes})
        self.stages.append(root)
        self.results.append(value)
        self.reads[value] = [Read(root, _subscripts(axes))]

    def start_reshaped(self, op: Op) -> None:
        """Make a reshape's result the group's. The nest runs over the operand's shape: a dense
        array has any shape, so the reshape costs nothing."""
        (operand,) = op.operands
        self.start(operand)
        self.results[:] = [op.result]
        self.members[op.result] = op

    @property
    def shape(self) -> tuple[Dim, ...]:
        """Of the results' nest."""
        return tuple(extent for _, extent in self.root.axes)

    def identity_read(self, value: Value) -> bool:
        """Whether the results' own nest reads `value` at its own element."""
        return Read(self.root, _subscripts(self.root.axes)) in self.reads.get(value, ())

    def rows_of(self, value: Value) -> frozenset[str] | None:
        """The axes of the results by which all reads of a value number its elements; None where
        they do not, or not all in one way."""
        where: set[tuple[str | None, ...]] = set()
        for read in self.reads.get(value, ()):
            plain = read.plain(value.type.shape)
            if plain is None:
                return None
            where.add(tuple(None if a is None else read.stage.to_root.get(a) for a in plain))
        return frozenset(a for a in where.pop() if a is not None) if len(where) == 1 else None

    def add(self, op: Op, formula: Formula, family: str) -> None:
        """Take in an op that the group reads; `family` is that of its reduction, if it is one."""
        self.members[op.result] = op
        depth = self.depths.get(op.result, 0) + 1
        for operand in op.operands:
            self.depths[operand] = max(depth, self.depths.get(operand, 0))
        reduction = root_reduction(formula)
        if reduction is not None:
            self._add_reduction(op, formula, reduction, family)
            return
        if joins_runs(op) and self.reads[op.result] == [
            Read(self.root, _subscripts(self.root.axes))
        ]:
            self._add_parts(op)
            return
        for read in tuple(self.reads[op.result]):
            env = {a.name: s for a, s in zip(formula.axes, read.subscripts, strict=True)}
            self._add_loads(op, formula.value, env, read.stage)

    def _add_parts(self, op: Op) -> None:
        """Each operand of a concat is read by a nest of its own."""
        for number, part in enumerate(op.operands):
            axes = tuple((f"{i}.{number}@{self.number}", e) for i, e in enumerate(part.type.shape))
            stage = Stage(part, axes, 0, PART, {})
            self.reads.setdefault(part, []).append(Read(stage, _subscripts(axes)))

    def _add_reduction(self, op: Op, formula: Formula, reduce: Reduce, family: str) -> None:
        tag = f"{len(self.stages)}@{self.number}"
        parallel = [(f"{axis.name}@{tag}", axis.extent) for axis in formula.axes]
        reduced = [(f"{axis.name}@{tag}", axis.extent) for axis in reduce.axes]
        names = [axis.name for axis in (*formula.axes, *reduce.axes)]
        to_root: dict[str, str] = {}
        read = self.reads[op.result][0]
        for (name, _), subscript in zip(parallel, read.subscripts, strict=True):
            if isinstance(subscript, Var) and subscript.name in read.stage.to_root:
                to_root[name] = read.stage.to_root[subscript.name]
        stage = Stage(op.result, (*parallel, *reduced), len(parallel), family, to_root)
        self.stages.append(stage)
        self.family = family
        self.rows = frozenset(to_root.values())
        env = dict(zip(names, _subscripts(stage.axes), strict=True))
        self._add_loads(op, reduce.body, env, stage)
        if reduce.guard is not None:
            self._add_loads(op, reduce.guard, env, stage)

    def _add_loads(self, op: Op, expr: Expr, env: Mapping[str, Expr], stage: Stage) -> None:
        names = op.definition.operand_names(len(op.operands))
        operands = dict(zip(names, op.operands, strict=True))
        for value in op.operands:
            self.reads.setdefault(value, [])
        for load in loads(expr):
            subscripts = tuple(
                simplify(_in_terms_of(subscript, env, operands), stage.extents)
                for subscript in load.indices
            )
            found = self.reads[operands[load.buffer]]
            read = Read(stage, subscripts)
            if read not in found:
                found.append(read)


def _subscripts(axes: Sequence[tuple[str, Dim]]) -> tuple[Expr, ...]:
    """The axes' own indices; 0 for an axis of size 1."""
    return tuple(index(0) if extent == 1 else Var(name) for name, extent in axes)


def _in_terms_of(expr: Expr, env: Mapping[str, Expr], operands: Mapping[str, Value]) -> Expr:
    """A subscript over a stage's axes; loads inside are named by the value that they read."""

    def rename(e: Expr) -> Expr:
        inner = map_children(e, rename)
        if isinstance(inner, Load):
            return replace(inner, buffer=operands[inner.buffer].name)
        return inner

    return substitute(rename(expr), dict(env))
