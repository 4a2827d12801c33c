"""The C interface of a program: argument order, status codes, where weights lie.

In: a `Program`. Out: records that the entry, the header, the description and the JIT agree on.

    weight_layout(program)   →   ({"fc.weight": 0, "fc.bias": 31360}, 31424)
    statuses(program)        →   (Status(0, "ok"), Status(1, "a pointer is null"), …)

NAME_run takes the sizes, the inputs, the outputs, the weights, then the workspace.
"""

from __future__ import annotations

from dataclasses import dataclass

from stepwell.ir.loop.core import ALIGNMENT, Check, Program, statements
from stepwell.ir.size import evaluate

OK, NULL_POINTER, NEGATIVE_SIZE, SIZE_OVERFLOW, MISALIGNED = range(5)
_FIXED = (
    (OK, "ok"),
    (NULL_POINTER, "a pointer is null"),
    (NEGATIVE_SIZE, "a size is negative, or makes a shape negative"),
    (SIZE_OVERFLOW, "the sizes are too large: a buffer would have more than 2^62 bytes"),
    (MISALIGNED, f"the workspace or the weights are not aligned to {ALIGNMENT} bytes"),
)


@dataclass(frozen=True)
class Status:
    """What a return value of NAME_run means."""

    code: int
    message: str


def statuses(program: Program) -> tuple[Status, ...]:
    """Every status: the fixed ones, the constraints in order, then the kernels' checks."""
    found = [Status(code, message) for code, message in _FIXED]
    messages = [constraint.message for constraint in program.constraints]
    for kernel in program.kernels:
        messages += [s.message for s in statements(kernel.body) if isinstance(s, Check)]
    for message in dict.fromkeys(messages):
        found.append(Status(len(found), message))
    return tuple(found)


def codes(program: Program) -> dict[str, int]:
    """The status of each constraint's or check's message."""
    return {status.message: status.code for status in statuses(program)[len(_FIXED) :]}


def weight_layout(program: Program) -> tuple[dict[str, int], int]:
    """Where each parameter lies in the weights, in bytes, and how many bytes these have."""
    offsets: dict[str, int] = {}
    total = 0
    for item in program.with_role("parameter"):
        offsets[item.buffer.name] = total
        size = evaluate(item.buffer.bytes, {})
        total += -(-size // ALIGNMENT) * ALIGNMENT
    return offsets, total
