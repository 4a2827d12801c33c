"""When a kernel may write its result over one of its inputs.

In: a kernel and two of its parameters. Out: whether every element of the input has been read for
the last time when that element of the output is stored; and the kernel in which the two are one.

    for i in 0..N { y[i] = exp(x[i]) }             yes
    for i in 0..N { y[i] = x[i] + x[N - 1 - i] }   no: x[N - 1 - i] is read in another turn

In a block, no statement reads what one before it may have stored. Turns of a loop that does both
touch elements of their own, so that each is a block by itself.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import reads, rename_buffers
from stepwell.ir.loop.core import Block, For, If, Kernel, Statement
from stepwell.ir.size import Dim, provably_le
from stepwell.lowering.dependence import (
    Access,
    accesses,
    accesses_in,
    are_apart,
    known_names,
    subscripts,
)
from stepwell.lowering.footprint import highest, lowest
from stepwell.lowering.partition import undealt


def can_reuse(kernel: Kernel, source: str, target: str) -> bool:
    """Whether the parameter `target` (out) may lie where `source` (in) lies."""
    buffers = {p.buffer.name: p.buffer for p in kernel.parameters}
    roles = {p.buffer.name: p.role for p in kernel.parameters}
    if roles[target] != "out" or roles[source] == "inout":
        return False
    if buffers[source].type != buffers[target].type or target in reads(kernel.body):
        return False
    return _reads_first(kernel, undealt(as_one(kernel, source, target).body), target)


def as_one(kernel: Kernel, source: str, target: str) -> Kernel:
    """The kernel with one parameter for the two, called `target`, which it reads and writes."""
    parameters = [p for p in kernel.parameters if p.buffer.name != source]
    both = tuple(replace(p, role="inout") if p.buffer.name == target else p for p in parameters)
    return replace(kernel, parameters=both, body=rename_buffers(kernel.body, {source: target}))


def _reads_first(kernel: Kernel, block: Block, name: str) -> bool:
    """Whether no element of the buffer is read after the block has stored it."""
    stored: list[Access] = []
    for statement in block:
        found = list(accesses_in((statement,), {name}))
        read = [access for access in found if not access.is_store]
        if not all(_disjoint(kernel, r, s) for r in read for s in stored):
            return False
        stored += [access for access in found if access.is_store]
        if read and len(read) < len(found) and not _inside(kernel, statement, name):
            return False
    return True


def _inside(kernel: Kernel, statement: Statement, name: str) -> bool:
    """The same for a statement that reads and stores."""
    match statement:
        case For(body=body):
            uses = list(accesses(statement, {name}))
            return are_apart(kernel, statement, uses) and _reads_first(kernel, body, name)
        case If(then=then, otherwise=otherwise):
            return all(_reads_first(kernel, block, name) for block in (then, otherwise))
    return True


def _disjoint(kernel: Kernel, x: Access, y: Access) -> bool:
    """Whether on some axis all that one touches lies before all that the other touches."""
    known = known_names(kernel)
    left, right = dict(subscripts(known, x)), dict(subscripts(known, y))
    return any(
        _before(left[axis], x, right[axis], y) or _before(right[axis], y, left[axis], x)
        for axis in left.keys() & right.keys()
    )


def _before(x: Dim, first: Access, y: Dim, then: Access) -> bool:
    """Whether all values of one subscript are less than all of the other."""
    return any(provably_le(high + 1, low) for high in highest(x, first) for low in lowest(y, then))
