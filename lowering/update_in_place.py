"""The pass `update_in_place`: a kernel writes a state's new value where the old one lies.

    call sgd(w, g, t)                                 call dx(w, dy, x)
    call dx(w, dy, x)                            →    call sgd(g, w)
    call copy_w(t, w)

    kernel sgd(w: … in, g: … in, y: … out) {          kernel sgd(g: … in, y: … inout) {
      for i in 0..N { y[i] = w[i] - g[i] }              for i in 0..N { y[i] = y[i] - g[i] }
    }                                                 }

That is right where all others that read the old value can run before, and all that may fail, and
where the kernel itself reads each element before it stores it (`in_place.py`); elements that stay
as they are it does not store then (`store_changes.py`). Else the new value is put aside and copied,
as soon as the old one is not read any more and nothing can fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from stepwell.ir.loop.analysis import fresh_name, loads_of, stores_of
from stepwell.ir.loop.core import Call, Kernel, Program
from stepwell.ir.scalar import Load
from stepwell.lowering.call_order import Dependences, checking_calls, touched
from stepwell.lowering.in_place import as_one, can_reuse
from stepwell.lowering.store_changes import store_changes


@dataclass(frozen=True)
class UpdateInPlace:
    """Write the new values of states where the old ones lie. See the module's docstring."""

    name: ClassVar[str] = "update_in_place"

    def run(self, program: Program) -> Program:
        if not program.with_role("state"):
            return program
        return _Updates(program).run()


@dataclass(frozen=True)
class _Update:
    """The call that computes a state's new value, into `aside`; the call that copies it."""

    state: str
    aside: str
    maker: int
    copy: int


class _Updates:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.calls = list(program.calls)
        self.order, self.checking = Dependences(program), checking_calls(program)
        self.kernels = {kernel.name: kernel for kernel in program.kernels}
        self.merged: dict[int, Kernel] = {}  # the kernels of calls in which two arguments are one
        self.copies = {i: c for i, c in enumerate(self.calls) if _copies(self.kernels[c.kernel])}
        self.done: dict[str, str] = {}  # what was to be put aside → the state

    def run(self) -> Program:
        for update in list(self._updates()):
            first = self._readers(update.state) - {update.maker, update.copy} | self.checking
            if update.aside in self.done:  # it lies where another state does
                continue
            if update.maker in first or any(self.order.precedes(update.maker, n) for n in first):
                continue
            if self._merges(update):
                self._put(update, first)
        return self._result() if self.done else self.program

    def _updates(self) -> Iterator[_Update]:
        """The copies of temporaries to states that nothing else writes, nor reads afterwards."""
        states = {item.buffer.name for item in self.program.with_role("state")}
        temporaries = {item.buffer.name for item in self.program.with_role("temporary")}
        for number, call in self.copies.items():
            aside, state = call.arguments
            makers = self._writers(aside)
            alone = self._writers(state) == {number} and len(makers) == 1
            if state not in states or aside not in temporaries or not alone:
                continue
            if max(self._readers(state), default=0) <= number:
                yield _Update(state, aside, makers.pop(), number)

    def _readers(self, name: str) -> set[int]:
        return {call for call, is_read, _ in self._touching.get(name, ()) if is_read}

    def _writers(self, name: str) -> set[int]:
        return {call for call, _, is_written in self._touching.get(name, ()) if is_written}

    @cached_property
    def _touching(self) -> dict[str, list[tuple[int, bool, bool]]]:
        found: dict[str, list[tuple[int, bool, bool]]] = {}
        for number, call in enumerate(self.program.calls):
            for name, is_read, is_written in touched(self.program, call):
                found.setdefault(name, []).append((number, is_read, is_written))
        return found

    # ------------------------------------------------------------------ one update

    def _merges(self, update: _Update) -> bool:
        """Make the state and its new value one argument of the maker, where it reads the state;
        whether the maker may write over it."""
        call = self.calls[update.maker]
        kernel = self.merged.get(update.maker, self.kernels[call.kernel])
        counts = [call.arguments.count(name) for name in (update.aside, update.state)]
        if counts[0] != 1 or counts[1] > 1:
            return False
        if not counts[1]:
            return True
        names = {n: p.buffer.name for p, n in zip(kernel.parameters, call.arguments, strict=True)}
        source, target = names[update.state], names[update.aside]
        if not can_reuse(kernel, source, target):
            return False
        self.merged[update.maker] = store_changes(as_one(kernel, source, target), target)
        arguments = tuple(name for name in call.arguments if name != update.state)
        self.calls[update.maker] = replace(call, arguments=arguments)
        return True

    def _put(self, update: _Update, first: set[int]) -> None:
        """The maker writes the state, after all that come first."""
        self.done[update.aside] = update.state
        del self.copies[update.copy]
        for number in first:
            self.order.require(number, update.maker)

    # ------------------------------------------------------------------ the new program

    def _result(self) -> Program:
        dropped = {number for number, call in enumerate(self.calls) if self._is_dropped(call)}
        left = [number for number in range(len(self.calls)) if number not in dropped]
        calls, kernels = self._named()
        names = self.done
        ordered = tuple(
            replace(
                calls[number], arguments=tuple(names.get(n, n) for n in calls[number].arguments)
            )
            for number in self.order.order(self._priority, left)
        )
        used = {call.kernel for call in (*ordered, *self.program.preparations)}
        return replace(
            self.program,
            buffers=tuple(b for b in self.program.buffers if b.buffer.name not in names),
            calls=ordered,
            kernels=tuple(kernel for kernel in kernels if kernel.name in used),
        )

    def _is_dropped(self, call: Call) -> bool:
        """Whether the call copies what is in its place already."""
        return len(call.arguments) == 2 and self.done.get(call.arguments[0]) == call.arguments[1]

    def _priority(self, number: int) -> tuple[int, int]:
        """The order of the source; but copies of states follow what they wait for."""
        if number not in self.copies:
            return number, 0
        return max(self.order.before[number], default=number), 1

    def _named(self) -> tuple[list[Call], list[Kernel]]:
        """The calls with kernels of their own where arguments are one; all kernels. A kernel that
        all calls have in the same merged form keeps its name."""
        calls, taken = list(self.calls), set(self.kernels)
        kernels = dict(self.kernels)
        whole = {call.kernel for i, call in enumerate(calls) if i not in self.merged}
        names: dict[Kernel, str] = {}
        for number, kernel in self.merged.items():
            if kernel not in names:
                free = kernel.name not in whole
                names[kernel] = kernel.name if free else fresh_name(taken, kernel.name)
                whole.add(kernel.name)
                kernels[names[kernel]] = replace(kernel, name=names[kernel])
            calls[number] = replace(calls[number], kernel=names[kernel])
        return calls, list(kernels.values())


def _copies(kernel: Kernel) -> bool:
    """Whether all the kernel does is to copy each element of one array to its place in another."""
    if [parameter.role for parameter in kernel.parameters] != ["in", "out"]:
        return False
    source, target = (parameter.buffer for parameter in kernel.parameters)
    plain = all(
        store.buffer == target.name
        and store.value == Load(source.name, store.indices, source.dtype)
        for store in stores_of(kernel.body)
    )
    return plain and source.shape == target.shape and bool(loads_of(kernel.body))
