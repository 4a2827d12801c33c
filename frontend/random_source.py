"""Where random numbers come from: a seed, and in training the step.

In: the first random call of an entry. Out: its `RandomSource`. A model gets an input `seed: i64`
behind all others, or takes its own input of that name; a training step presets `e.random` with
tensors that it keeps as state.

    uniform([N])   →   philox(iota([N]), step * 2^32 + place, seed)

`place` counts the random calls of a program, so that no two draw the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepwell.frontend.values import Origin, Tensor
from stepwell.ir.dtypes import I64
from stepwell.ir.graph.core import Value
from stepwell.ir.types import TensorType

if TYPE_CHECKING:
    from stepwell.frontend.elaboration import Elaboration
    from stepwell.ir.span import Span

SEED = "seed"


@dataclass
class RandomSource:
    """`seed` and `step` are i64 scalars; without a step every run draws the same."""

    seed: Tensor
    step: Tensor | None = None
    places: int = 0

    def next_place(self) -> int:
        """The number of the next random call, from 1."""
        self.places += 1
        return self.places


def random_source(e: Elaboration, span: Span) -> RandomSource:
    """The source of the entry that is being elaborated; the first use makes it."""
    if e.random is None:
        e.random = RandomSource(_seed(e, span))
    return e.random


def _seed(e: Elaboration, span: Span) -> Tensor:
    """The entry's input `seed`: its own, or one behind all others."""
    type = TensorType(I64)
    own = next((value for value in e.root.inputs if value.name == SEED), None)
    if own is not None and own.type != type:
        e.fail(
            "SW0415",
            f"random numbers need the input `seed` as i64, and here it is {own.type}",
            span,
            "random",
            help="name that input otherwise, or declare it `seed: i64[]`",
        )
    if own is None:
        own = Value(SEED, type)
        e.root.inputs.append(own)
    return Tensor(own, Origin(span, "the seed of random numbers"))
