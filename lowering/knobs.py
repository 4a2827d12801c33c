"""Choices of strategies that a measurement may overrule.

In: a name, the analytic choice, what else could be chosen; all records of one type. Out: the one to
take: the analytic one, unless a tuned record for this kernel names another of the candidates.

    tile = choose("tile", analytic, lambda: candidates)
    with tuned({"tile": {"rows": 7, …}}): …          choose("tile", …) gives that one
    offers(lambda: schedule_kernel(kernel, target))  what there was to choose: for `stepwell tune`

A record that fits no candidate is ignored: whatever a database says, code stays right.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

Knobs = Mapping[str, Mapping[str, Any]]  # by name, the fields of what was chosen
Choice = TypeVar("Choice")


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
    """The choice to take; candidates and the analytic choice are dataclasses of one type."""
    if _state.offers is not None:
        _state.offers.append(Offer(name, analytic, tuple(candidates())))
    wanted = _state.knobs.get(name)
    if wanted is None:
        return analytic
    return next((each for each in candidates() if as_fields(each) == wanted), analytic)


def as_fields(choice: Any) -> dict[str, Any]:
    """A choice as a database keeps it."""
    return asdict(choice)


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
        return list({offer.name: offer for offer in _state.offers}.values())
    finally:
        _state.offers = before
