"""Choices of strategies that a measurement may overrule.

In: a knob's name, the analytic choice, what else is legal: numbers, switches, or records of one
type. Out: the one to take: the analytic one, unless a tuned record for this kernel names another.

    tile = choose("tile", analytic, lambda: candidates)
    with tuned({"tile": {"rows": 7, …}}): …          choose("tile", …) gives that one
    offers(lambda: schedule_kernel(kernel, target))  what there was to choose: for `stepwell tune`

What may be chosen can depend on what was chosen before: a convolution by Winograd's method has
other tiles than a direct one. A record that fits no candidate is ignored: whatever a database says,
code stays right.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, TypeVar

Knobs = Mapping[str, Any]  # by name, what was chosen: a number, or the fields of a record
Choice = TypeVar("Choice")

KNOBS = {
    "vector_bits": "how wide vectors are",
    "tile": "a product's register tile, and its blocks for the caches",
    "pack_a": "whether a product's rows are packed, or read where they lie",
    "pack_b": "whether a product's columns are packed, or read where they lie",
    "ahead": "bytes that constant panels are prefetched ahead; 0: not at all",
    "winograd": "a 3×3 convolution on tiles of 2 or 4 pixels, or without that method (0)",
    "winograd_rows": "rows of such tiles that are transformed at a time",
    "direct": "whether a convolution reads its image where it lies, or is a packed product",
    "pixel_tile": "a convolution's register tile of pixels and channels",
    "panels_outside": "whether a convolution takes all pixels for each panel of weights, or turns",
    "streams": "rows of a matrix that a product with a few rows reads side by side",
    "column_block": "bytes of such a row before the next are read",
    "accumulators": "vectors that a reduction, or a chain of operations, keeps in flight",
    "across": "vectors of results that reductions run for side by side",
    "stream": "whether results are written past the caches",
    "rows_ahead": "rows that are prefetched ahead, in loops over rows from memory; 0: none",
    "window_tile": "pixels of a depthwise convolution's or a pooling's tile",
    "attention_rows": "rows of attention, or of its gradient, that are done at a time",
    "correlation": "channels in a tile of a convolution's gradient, images and rows in a block",
    "part": "terms of a long reduction that are added up by themselves",
}


@dataclass(frozen=True)
class Offer:
    """A choice that a strategy left open."""

    name: str
    analytic: Any
    candidates: tuple[Any, ...]


class _State(threading.local):
    """What holds while one kernel is scheduled, in this thread."""

    def __init__(self) -> None:
        self.knobs: Knobs = {}
        self.offers: list[Offer] | None = None


_state = _State()


def choose(name: str, analytic: Choice, candidates: Callable[[], Iterable[Choice]]) -> Choice:
    """The choice to take, for one of KNOBS."""
    if _state.offers is not None:
        assert name in KNOBS
        _state.offers.append(Offer(name, analytic, tuple(candidates())))
    wanted = _state.knobs.get(name)
    if wanted is None:
        return analytic
    return next((each for each in candidates() if as_fields(each) == wanted), analytic)


def near(analytic: int, least: int, most: int) -> tuple[int, ...]:
    """Numbers from a quarter of the analytic one to four times as much, as far as allowed."""
    found = (analytic // 4, analytic // 2, analytic, analytic * 2, analytic * 4)
    return tuple(dict.fromkeys(n for n in found if least <= n <= most))


def as_fields(choice: Any) -> Any:
    """A choice as a database keeps it."""
    return asdict(choice) if is_dataclass(choice) and not isinstance(choice, type) else choice


@contextmanager
def tuned(knobs: Knobs) -> Iterator[None]:
    """Overrule the choices named in `knobs` inside."""
    before, _state.knobs = _state.knobs, knobs
    try:
        yield
    finally:
        _state.knobs = before


def offers(schedule: Callable[[], object]) -> list[Offer]:
    """The choices that there are while `schedule` runs, each once."""
    before, _state.offers = _state.offers, []
    try:
        schedule()
        return list({offer.name: offer for offer in reversed(_state.offers)}.values())[::-1]
    finally:
        _state.offers = before
