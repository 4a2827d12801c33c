"""What bounds a kernel, and how far it is from that bound: the roofline model.

In: a kernel's `Work` and the machine's `Ceilings`. Out: a `Bound`: the least time that each limit
allows, of which the greatest binds.

    compute    operations at the multiply-add rate, functions (exp, div, …) at theirs
    L1 … memory   every byte once, at the bandwidth of the level where it lies
    latency    calling a kernel that does nothing
    fork-join  waking the threads and waiting for them

Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model for Multicore
Architectures", CACM 52(4), 2009; here with a roof per level, as in Ilic, Pratas, Sousa,
"Cache-aware Roofline Model", IEEE CAL 13(1), 2014.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stepwell.bench.ceilings import Ceilings
from stepwell.bench.work import Work


@dataclass(frozen=True)
class Bound:
    """The limit that binds, its seconds, and those of every limit."""

    name: str
    seconds: float
    limits: dict[str, float]
    level: str  # where the bytes are that take longest to move


def bound_of(work: Work, ceilings: Ceilings, function: Callable[[str], float]) -> Bound:
    """`function` gives the seconds of one application of exp, div, … on one thread."""
    applied = sum(count * function(name) for name, count in work.functions.items())
    plain = max(0, work.flops - sum(work.functions.values()))
    limits = {"compute": plain / ceilings.flops + applied / ceilings.threads}
    movement = dict.fromkeys(ceilings.levels, 0.0)
    for item in work.traffic:
        level = ceilings.level_of(item.distance)
        movement[level.name] += item.bytes / (level.write if item.written else level.read)
    slowest = max(movement, key=lambda name: movement[name])
    limits[slowest] = sum(movement.values())
    limits["latency"] = ceilings.call
    limits["fork-join"] = work.forks * ceilings.fork
    name = max(limits, key=lambda limit: limits[limit])
    return Bound(name, limits[name], limits, slowest)
