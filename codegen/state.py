"""What the emission of a kernel knows at a point: the builder, names in scope, lanes, the mask.

In: an `Emission` and values. Out: LLVM values, instructions appended to the current block.

    scalar(e, Linear(%b, 3))   →   %s = add i64 %b, 3

Index arithmetic is memoised within a stretch of straight-line code, so that the many subscripts of
an unrolled body cost little to emit and to optimise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from stepwell.codegen.registers import RegisterArray
from stepwell.codegen.values import (
    I64,
    Linear,
    LLVMValue,
    Value,
    constant,
    numbers,
    splat,
)
from stepwell.ir.loop.core import Buffer
from stepwell.ir.target import Target


class CodegenError(Exception):
    """A loop program that code generation must refuse; the verifier should have."""


@dataclass(frozen=True)
class MemoryBuffer:
    """A buffer in memory: its base pointer, and what is known of that pointer's alignment."""

    buffer: Buffer
    pointer: LLVMValue
    alignment: int
    noalias: bool = True


@dataclass
class Emission:
    """The state of one kernel's emission."""

    builder: Any
    function: Any
    entry: Any  # a builder at the end of the entry block, for what depends on sizes only
    target: Target
    codes: dict[str, int]  # the status of each check's message
    pool: LLVMValue | None = None  # of threads; None where parallel loops run in order
    memory: dict[str, MemoryBuffer] = field(default_factory=dict)
    registers: dict[str, RegisterArray] = field(default_factory=dict)
    variables: dict[str, Value] = field(default_factory=dict)
    sizes: frozenset[str] = frozenset()
    nonnegative: set[str] = field(default_factory=set)
    lanes: int | None = None
    lane: str = ""
    mask: LLVMValue | None = None  # of the lanes, or a scalar guard; inactive loads are not done
    memo: dict[Any, LLVMValue] = field(default_factory=dict)
    size_values: dict[Any, Value] = field(default_factory=dict)

    def once(self, key: Any, emit: Any) -> LLVMValue:
        """`emit()`, or its result from before in this stretch of code."""
        value = self.memo.get(key)
        if value is None:
            value = self.memo[key] = emit()
        return value

    def block(self, name: str) -> Any:
        """A new block at the end of the function."""
        return self.function.append_basic_block(name)

    def enter(self, block: Any) -> None:
        """Continue in another block, which what came before need not dominate."""
        self.builder.position_at_end(block)
        self.memo = {}

    @contextmanager
    def masked(self, condition: LLVMValue | None) -> Iterator[None]:
        """Within, loads and stores are done only where `condition` holds too."""
        outer = self.mask
        if condition is not None:
            self.mask = condition if outer is None else conjunction(self, outer, condition)
        yield
        self.mask = outer

    @contextmanager
    def in_entry(self) -> Iterator[None]:
        """Within, instructions go to the entry block."""
        outer = (self.builder, self.memo, self.lanes, self.mask)
        self.builder, self.memo, self.lanes, self.mask = self.entry, {}, None, None
        yield
        self.builder, self.memo, self.lanes, self.mask = outer


def conjunction(e: Emission, x: LLVMValue, y: LLVMValue) -> LLVMValue:
    """x and y of one mask, scalar or of the lanes."""
    x, y = alike(e, x, y)
    return e.builder.and_(x, y)


def alike(e: Emission, *values: LLVMValue) -> tuple[LLVMValue, ...]:
    """The values with the same lanes: scalars are splat where any is a vector."""
    counts = [v.type.count for v in values if hasattr(v.type, "count")]
    if not counts:
        return values
    return tuple(spread(e, value, counts[0]) for value in values)


def spread(e: Emission, value: LLVMValue, lanes: int) -> LLVMValue:
    """A scalar on every lane, memoised; a vector as it is."""
    if hasattr(value.type, "count"):
        return value
    return e.once(("splat", value, lanes), lambda: splat(e.builder, value, lanes))


def materialise(e: Emission, value: Value) -> LLVMValue:
    """The value as an LLVM value: a `Linear` with a step becomes a vector."""
    if not isinstance(value, Linear):
        return value
    base = scalar(e, value)
    if value.step == 0:
        return base
    assert e.lanes is not None, "a lane index outside its vector loop"
    steps = numbers(I64, [lane * value.step for lane in range(e.lanes)])
    if value.base is None and value.constant == 0:
        return steps
    wide = spread(e, base, e.lanes)
    return e.once(("step", base, value.step), lambda: e.builder.add(wide, steps))


def scalar(e: Emission, value: Linear) -> LLVMValue:
    """A linear value at lane 0."""
    if value.base is None:
        return constant(I64, value.constant)
    if value.constant == 0:
        return value.base
    number = constant(I64, value.constant)
    return e.once(("add", value.base, value.constant), lambda: e.builder.add(value.base, number))


def add(e: Emission, x: Linear, y: Linear) -> Linear:
    """x + y."""
    base = x.base if y.base is None else y.base
    if x.base is not None and y.base is not None:
        base = e.once(("add", x.base, y.base), lambda: e.builder.add(x.base, y.base))
    return Linear(base, x.constant + y.constant, x.step + y.step)


def scale(e: Emission, x: Linear, factor: int) -> Linear:
    """x * factor."""
    if factor == 0:
        return Linear(None)
    base = x.base
    if base is not None and factor != 1:
        number = constant(I64, factor)
        base = e.once(("mul", base, factor), lambda: e.builder.mul(x.base, number))
    return Linear(base, x.constant * factor, x.step * factor)


def product(e: Emission, x: Linear, y: Linear) -> Value:
    """x * y: linear where either is a constant or both are the same on every lane."""
    if y.is_constant:
        return scale(e, x, y.constant)
    if x.is_constant:
        return scale(e, y, x.constant)
    left, right = materialise(e, x), materialise(e, y)
    if x.step == 0 and y.step == 0:
        return Linear(e.once(("mul", left, right), lambda: e.builder.mul(left, right)))
    left, right = alike(e, left, right)
    return e.builder.mul(left, right)
