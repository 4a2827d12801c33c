"""The search for one kernel's best choices: one changed at a time, from the analytic ones on.

In: a kernel, how it is scheduled, the choices to start from; then the time that each proposal took,
as a part of the default's. Out: proposals, and the best of them.

    climb.propose()  →  {"winograd": 4};  climb.told(0.8)     less than before: the best now
    climb.propose()  →  {"winograd": 4, "winograd_rows": 2};  climb.told(0.83)    not better

The nearest candidates of every knob come first, then those farther away. What is faster changes
which choices there are, so the list is made anew. Candidates that lead to a schedule that was tried
are passed over; those that can't be scheduled are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from math import log2
from typing import Any

from stepwell.ir.diagnostics import StepwellError
from stepwell.ir.loop.core import Kernel
from stepwell.ir.loop.kernel_rules import verify_kernel
from stepwell.lowering.knobs import Knobs, Offer, as_fields, offers, tuned

WORTH = 0.985  # of the best time until then: less is noise


@dataclass
class Climb:
    """See the module's docstring. `ratio`: of the best's time and the default's."""

    kernel: Kernel
    schedule: Callable[[Kernel], Kernel]
    start: Knobs
    best: dict[str, Any] = field(default_factory=dict)
    ratio: float = 1.0
    tried: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self._seen = {self._scheduled({})}
        self._asked: dict[str, Any] | None = None
        self._left = self._ahead()
        self._first = [dict(self.start)] if self.start else []

    def propose(self) -> dict[str, Any] | None:
        """Choices that were not tried yet; None where none are left."""
        for fields in chain(self._taken_first(), self._left):
            made = self._scheduled(fields)
            if made is not None and made not in self._seen:
                self._seen.add(made)
                self._asked = fields
                return fields
        return None

    def told(self, ratio: float) -> None:
        """What the last proposal took. Where it is the best until now, the next start from it."""
        assert self._asked is not None
        self.tried += 1
        if ratio < WORTH * self.ratio:
            self.best, self.ratio, self._left = self._asked, ratio, self._ahead(self._asked)

    def refuse(self) -> None:
        """The last proposal is none."""
        self.refused += 1

    def _taken_first(self) -> Iterator[dict[str, Any]]:
        while self._first:
            yield self._first.pop()

    def _ahead(self, best: Knobs | None = None) -> Iterator[dict[str, Any]]:
        """The best with one choice changed, the least changes first."""
        best = dict(best or {})
        with tuned(best):
            found = offers(lambda: self.schedule(self.kernel))
        lists = [[{**best, each.name: value} for value in nearest_first(each, best)]
                 for each in found]  # fmt: skip
        return (fields for rank in zip_longest(*lists) for fields in rank if fields is not None)

    def _scheduled(self, fields: Mapping[str, Any]) -> Kernel | None:
        """The kernel with these choices; None, and one more refused, where there is none."""
        try:
            with tuned(fields):
                made = self.schedule(self.kernel)
            verify_kernel(made)
        except StepwellError:
            self.refused += 1
            return None
        return made


def nearest_first(offer: Offer, chosen: Knobs) -> list[Any]:
    """The candidates but the one that is taken now, as fields, those that differ least first."""
    now = chosen.get(offer.name, as_fields(offer.analytic))
    found = [as_fields(each) for each in offer.candidates]
    return sorted((each for each in found if each != now), key=lambda each: _distance(each, now))


def _distance(a: Any, b: Any) -> float:
    """Between two choices: doublings; 1 where they are no numbers."""
    if isinstance(a, dict):
        return sum(_distance(value, b[name]) for name, value in a.items())
    if isinstance(a, bool):
        return float(a != b)
    return abs(log2((a + 1) / (b + 1)))
