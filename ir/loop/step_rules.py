"""The rules of calls that are together: they may run in any order, and at once.

In: a program, sizes to try plans with. Out: nothing, or a failure at a call:

    together {
      call double(x, t)
      call double(t, y)      `t` is written beside a call that has it: `double`
    }

What they have in common none of them writes, by name or, once memory is planned, by place; but
parts of one array, `out` of each of them, they may: as turns of a parallel loop, no two write one
element. They are what the pool deals out, so none of them has a loop for it to deal out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import NoReturn

from stepwell.ir.loop.core import Call, Program, Role, is_parallel, scratch_bytes
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
    for name, role in ours.items():
        alike = (first.kernel, first.sizes) == (then.kernel, then.sizes)
        if name in theirs and not _may_share(role, theirs[name], not alike):
            fail(f"`{name}` is written beside a call that has it: `{first.kernel}`", then)


def _may_share(ours: Role, theirs: Role, one: bool = True) -> bool:
    """Whether calls together may have memory in common: what both read, or `one` array of which
    they write parts of their own."""
    if ours == theirs == "out":
        return one
    return ours in ("in", "const") and theirs in ("in", "const")


def _apart_by_place(
    program: Program, step: Sequence[Call], sizes: Mapping[str, int], fail: Fail
) -> None:
    try:
        places = [list(_places(program, call, sizes)) for call in step]
    except ZeroDivisionError:  # sizes that the entry refuses
        return
    for (i, first), (j, then) in combinations(enumerate(places), 2):
        for a, b in product(first, then):
            meets = max(a.start, b.start) < min(a.end, b.end)
            if meets and not _may_share(a.role, b.role, a.name == b.name):
                fail(f"{b.name} shares memory with {a.name} of `{step[i].kernel}`", step[j])


@dataclass(frozen=True)
class _Place:
    """Bytes of the workspace that a call touches."""

    name: str
    start: int
    end: int
    role: Role


def _touched(program: Program, call: Call) -> Iterator[tuple[str, Role]]:
    """The buffers of a call, and what they are to it."""
    parameters = program.kernel(call.kernel).parameters
    for parameter, name in zip(parameters, call.arguments, strict=True):
        yield name, parameter.role


def _places(program: Program, call: Call, sizes: Mapping[str, int]) -> Iterator[_Place]:
    """What a call touches in the workspace, where it has been planned."""
    for name, role in _touched(program, call):
        item = program.buffer(name)
        if item.role == "temporary" and item.offset is not None:
            start = evaluate(item.offset, sizes)
            yield _Place(f"`{name}`", start, start + evaluate(item.buffer.bytes, sizes), role)
    if call.scratch is not None:
        kernel = program.kernel(call.kernel)
        own = {k: evaluate(n, sizes) for k, n in zip(kernel.sizes, call.sizes, strict=True)}
        start = evaluate(call.scratch, sizes)
        yield _Place("the scratch", start, start + evaluate(scratch_bytes(kernel), own), "inout")
