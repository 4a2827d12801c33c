"""Which calls of a program must come before which others, and orders that keep to that.

In: a program. Out: `Dependences` between the calls, by their numbers in the program's order:

    0: call f(x, a)    1: call g(a, b)    2: call h(x, a)      1 reads what 0 wrote;
                                                               2 writes what 1 reads

Calls that write parts of one array that have no element in common come in any order.

A state is written after all checks, so that a run that fails has changed nothing.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from stepwell.ir.loop.core import Call, Check, Program, statements
from stepwell.lowering.footprint import Footprints


def touched(program: Program, call: Call) -> Iterator[tuple[str, bool, bool]]:
    """(buffer, whether it is read, whether it is written) for each argument of a call."""
    parameters = program.kernel(call.kernel).parameters
    for parameter, name in zip(parameters, call.arguments, strict=True):
        yield name, parameter.role != "out", parameter.is_written


def checking_calls(program: Program) -> set[int]:
    """The numbers of the calls that may fail; none where there is no state to keep whole."""
    if not program.with_role("state"):
        return set()
    kernels = {
        kernel.name
        for kernel in program.kernels
        if any(isinstance(statement, Check) for statement in statements(kernel.body))
    }
    return {number for number, call in enumerate(program.calls) if call.kernel in kernels}


class _Parts:
    """Which calls touch an array that several write in parts, and which parts."""

    def __init__(self, program: Program) -> None:
        self.calls = program.calls
        self.footprints = Footprints({kernel.name: kernel for kernel in program.kernels})
        written = [n for c in program.calls for n, read, w in touched(program, c) if w and not read]
        self.shared = {name for name, count in Counter(written).items() if count > 1}

    def are_apart(self, first: int, then: int, name: str) -> bool:
        if name not in self.shared:
            return False
        return self.footprints.are_apart(self.calls[first], self.calls[then], name)


class Dependences:
    """Between the calls of a program: that of writers and readers in its order, and more."""

    def __init__(self, program: Program) -> None:
        self.before: list[set[int]] = []
        writers: dict[str, set[int]] = {}  # the last; those of parts that are apart all count
        readers: dict[str, set[int]] = {}
        states = {item.buffer.name for item in program.with_role("state")}
        checking = checking_calls(program)
        parts = _Parts(program)
        for number, call in enumerate(program.calls):
            own: set[int] = set()
            arguments = list(touched(program, call))
            if any(is_written and name in states for name, _, is_written in arguments):
                own |= {check for check in checking if check < number}
            kept: dict[str, set[int]] = {}  # writers of other parts
            for name, is_read, is_written in arguments:
                earlier = writers.get(name, set())
                if is_written and not is_read:
                    kept[name] = {n for n in earlier if parts.are_apart(n, number, name)}
                own |= earlier - kept.get(name, set())
                own |= readers.get(name, set()) if is_written else set()
            for name, is_read, is_written in arguments:
                if is_written and kept.get(name):
                    writers[name] = writers[name] | {number}
                elif is_written:
                    writers[name], readers[name] = {number}, set()
                if is_read:
                    readers.setdefault(name, set()).add(number)
            self.before.append(own - {number})

    @property
    def after(self) -> list[list[int]]:
        """For each call those that it comes before."""
        found: list[list[int]] = [[] for _ in self.before]
        for number, numbers in enumerate(self.before):
            for first in numbers:
                found[first].append(number)
        return found

    def require(self, first: int, then: int) -> None:
        """From now on the one comes before the other."""
        self.before[then].add(first)

    def precedes(self, first: int, then: int) -> bool:
        """Whether the one must come before the other."""
        seen: set[int] = set()
        waiting = [then]
        while waiting:
            for number in self.before[waiting.pop()] - seen:
                if number == first:
                    return True
                seen.add(number)
                waiting.append(number)
        return False

    def order(self, priority: Callable[[int], Any], left: Sequence[int]) -> list[int]:
        """The calls that are left, each after those before it; of several, the least first."""
        after: dict[int, list[int]] = {number: [] for number in left}
        missing = dict.fromkeys(left, 0)
        for number in left:
            for first in self.before[number] & after.keys():
                after[first].append(number)
                missing[number] += 1
        ready = [(priority(number), number) for number in left if not missing[number]]
        heapq.heapify(ready)
        found: list[int] = []
        while ready:
            _, number = heapq.heappop(ready)
            found.append(number)
            for then in after[number]:
                missing[then] -= 1
                if not missing[then]:
                    heapq.heappush(ready, (priority(then), then))
        return found
