"""The rules of calls that are together: they may run in any order, and at once.

In: a program, sizes to try plans with. Out: nothing, or a failure at a call:

    together {
      call double(x, t)
      call double(t, y)      `t` is written beside a call that has it: `double`
    }

What they have in common none of them writes, by name or, once memory is planned, by place. They are
what the pool deals out, so none of them has a loop for it to deal out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import NoReturn

from stepwell.ir.loop.core import Call, Program, is_parallel, scratch_bytes
from stepwell.ir.size import evaluate

Fail = Callable[[str, Call], NoReturn]


def verify_steps(program: Program, trials: Sequence[Mapping[str, int]], fail: Fail) -> None:
    """Each step's calls; `trials` are sizes for which places are compared."""
    if program.calls and program.calls[0].beside:
        fail("there is no call before the first", program.calls[0])
    for step in program.steps:
        for call in step if len(step) > 1 else ():
            if is_parallel(program.kernel(call.kernel)):
                fail(f"`{call.kernel}` has a parallel loop: its calls are beside none", call)
        for first, then in combinations(step, 2):
            _apart_by_name(program, first, then, fail)
        if program.workspace is not None and len(step) > 1:
            for sizes in trials:
                _apart_by_place(program, step, sizes, fail)


def _apart_by_name(program: Program, first: Call, then: Call, fail: Fail) -> None:
    ours, theirs = (dict(_touched(program, call)) for call in (then, first))
    for name, written in ours.items():
        if name in theirs and (written or theirs[name]):
            fail(f"`{name}` is written beside a call that has it: `{first.kernel}`", then)


def _apart_by_place(
    program: Program, step: Sequence[Call], sizes: Mapping[str, int], fail: Fail
) -> None:
    try:
        places = [list(_places(program, call, sizes)) for call in step]
    except ZeroDivisionError:  # sizes that the entry refuses
        return
    for (i, first), (j, then) in combinations(enumerate(places), 2):
        for a, b in product(first, then):
            if (a.written or b.written) and max(a.start, b.start) < min(a.end, b.end):
                fail(f"{b.name} shares memory with {a.name} of `{step[i].kernel}`", step[j])


@dataclass(frozen=True)
class _Place:
    """Bytes of the workspace that a call touches."""

    name: str
    start: int
    end: int
    written: bool


def _touched(program: Program, call: Call) -> Iterator[tuple[str, bool]]:
    """The buffers of a call, and whether it writes them."""
    parameters = program.kernel(call.kernel).parameters
    for parameter, name in zip(parameters, call.arguments, strict=True):
        yield name, parameter.is_written


def _places(program: Program, call: Call, sizes: Mapping[str, int]) -> Iterator[_Place]:
    """What a call touches in the workspace, where it has been planned."""
    for name, written in _touched(program, call):
        item = program.buffer(name)
        if item.role == "temporary" and item.offset is not None:
            start = evaluate(item.offset, sizes)
            yield _Place(f"`{name}`", start, start + evaluate(item.buffer.bytes, sizes), written)
    if call.scratch is not None:
        kernel = program.kernel(call.kernel)
        own = {k: evaluate(n, sizes) for k, n in zip(kernel.sizes, call.sizes, strict=True)}
        start = evaluate(call.scratch, sizes)
        yield _Place("the scratch", start, start + evaluate(scratch_bytes(kernel), own), True)
