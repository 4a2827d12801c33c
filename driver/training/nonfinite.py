"""Which operator first gave a number that is not finite.

In: a trainer, the batches since its last checkpoint. Out: a `UserError` with the step and the place
in the source:

    error[SW0801]: the loss is inf in step 41: `log` gives -inf at [3, 0]
      --> net.well:9:17
       |
     9 |     loss = mean(log(p))
       |                 ^^^^^^ of operands in [0, 0.31]

Steps give the same bits each time, so the one at fault is found by doing them again from the
checkpoint, and again up to it; then the interpreter goes through that one, op by op. From the loss
(or the parameter) the way leads back through the numbers that are not finite to the op that made
one of finite operands. An infinity that the program itself writes, as masks do, is no fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stepwell.arrays import Array
from stepwell.ir.diagnostics import Diagnostic, InputError, Label, UserError
from stepwell.programs import checked
from stepwell.training.data import Batch

if TYPE_CHECKING:
    from stepwell.ir.graph.core import Graph, Op, Value
    from stepwell.training.trainer import Trainer

CODE = "SW0801"
Again = Callable[[], Iterator[Batch]]


def finite(trainer: Trainer) -> bool:
    """Whether all trained parameters are."""
    return all(np.isfinite(np.sum(array, dtype=np.float64)) for array in trainer.trained())


def blame(trainer: Trainer, again: Again) -> Exception:
    """`again` takes the trainer back to the checkpoint and gives the batches since. The trainer is
    left as it was before the step at fault."""
    count = _steps_before(trainer, again())
    batches = again()
    for _ in range(count):
        trainer.step(*next(batches))
    step = trainer.position.step + 1
    if trainer.source.kind == "loops":
        return InputError(f"the loss, or a parameter, is not finite after step {step}")
    graph = trainer.graph()
    facts = _Facts.of(graph, next(batches), trainer.state)
    what, value = _what_is_wrong(graph, facts)
    if value is None:
        return InputError(
            f"the loss is not finite in step {step}; in the interpreter it is: compiled code may "
            "round otherwise, and overflow sooner"
        )
    culprit = facts.origin(value)
    op = facts.producers.get(culprit)
    message, ranges = f"{what} in step {step}: {facts.described(culprit)}", facts.ranges(culprit)
    span = (op and op.span) or graph.span
    if span is None:
        return InputError(f"{message} {ranges}")
    source = trainer.source
    sources = checked(source).sources if source.kind == "well" else {source.file: source.text}
    return UserError([Diagnostic(CODE, message, (Label(span, ranges),))], sources)


def _steps_before(trainer: Trainer, batches: Iterator[Batch]) -> int:
    """How many steps go well."""
    for count, arrays in enumerate(batches):
        results = trainer.step(*arrays)
        if not math.isfinite(next(iter(results.values()))) or not finite(trainer):
            return count
    raise InputError("the loss was not finite; in a second run through the same steps it is")


def _what_is_wrong(graph: Graph, facts: _Facts) -> tuple[str, Value | None]:
    name, loss = graph.results[0]
    if facts.kind(loss):
        return f"the {name} is {facts.kind(loss)}", loss
    for parameter, new in graph.updates:
        if facts.kind(new):
            return f"the new `{parameter.name}` holds {facts.kind(new)}", new
    return "", None


@dataclass(frozen=True)
class _Fact:
    """Of one float value: its range, and the worst number that it holds with its place."""

    least: float
    greatest: float
    worst: float
    place: tuple[int, ...]

    def __str__(self) -> str:
        strange = "" if math.isfinite(self.worst) else f" with {self.worst}"
        ends = dict.fromkeys([f"{self.least:.4g}", f"{self.greatest:.4g}"])
        return f"[{', '.join(ends)}]{strange}"

    @staticmethod
    def of(array: Array) -> _Fact:
        wide = array.astype(np.float64)
        good = np.isfinite(wide)
        bad = np.isnan(wide) if np.isnan(wide).any() else ~good
        place = np.unravel_index(int(np.argmax(bad)), wide.shape) if wide.ndim else ()
        inside = wide[good] if good.any() else wide.reshape(-1)
        return _Fact(
            float(inside.min()), float(inside.max()), float(wide[place]), tuple(map(int, place))
        )


@dataclass
class _Facts:
    """What the interpreter saw of each float value."""

    producers: Mapping[Value, Op]
    seen: dict[Value, _Fact] = field(default_factory=dict)

    @staticmethod
    def of(graph: Graph, batch: Batch, state: Mapping[str, Array]) -> _Facts:
        from stepwell.ir.graph.interpreter import run_op
        from stepwell.ir.graph.sizes import bind_sizes

        given = dict(zip((value.name for value in graph.inputs), batch, strict=True)) | dict(state)
        values = {
            value: given[value.name]
            for value in (*graph.inputs, *(parameter.value for parameter in graph.parameters))
        }
        sizes = bind_sizes(graph, {value.name: array.shape for value, array in values.items()})
        facts = _Facts(graph.producers())
        facts._see(values)
        for op in graph.ops:
            made = dict(zip(op.results, run_op(op, values, sizes, "native"), strict=True))
            facts._see(made)
            values |= made
        return facts

    def _see(self, values: Mapping[Value, Array]) -> None:
        for value, array in values.items():
            if value.type.dtype.is_float and array.size:
                self.seen[value] = _Fact.of(array)

    def kind(self, value: Value) -> str:
        """`nan`, `inf`, `-inf`; nothing where all numbers are finite."""
        fact = self.seen.get(value)
        return "" if fact is None or math.isfinite(fact.worst) else f"{fact.worst}"

    def origin(self, value: Value) -> Value:
        """Where what is wrong with `value` was made."""
        op = self.producers.get(value)
        if op is None:
            return value
        nans = [x for x in op.operands if self.kind(x) == "nan"]
        if nans:
            return self.origin(nans[0])
        for operand in op.operands:
            found = self.origin(operand) if self.kind(operand) else None
            if found is not None and self._computed(found):
                return found
        return value

    def _computed(self, value: Value) -> bool:
        """Whether an infinity came of numbers, and was not written, as masks are."""
        op = self.producers.get(value)
        return bool(op.operands) if op else self.kind(value) != "-inf"

    def described(self, value: Value) -> str:
        """What gave the value, which holds what, and where."""
        op, fact = self.producers.get(value), self.seen[value]
        place = f" at {list(fact.place)}" if fact.place else ""
        if op is None:
            return f"`{value.name}` holds {fact.worst}{place}"
        return f"`{op.definition.name}` gives {fact.worst}{place}"

    def ranges(self, value: Value) -> str:
        """What it was made of."""
        op = self.producers.get(value)
        found = [str(self.seen[x]) for x in op.operands if x in self.seen] if op else []
        return f"of operands in {', '.join(found)}" if found else ""
