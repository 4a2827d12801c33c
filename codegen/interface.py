"""The C interface of a program: argument order, status codes, where weights lie.

In: a `Program`. Out: records that the entry, the header, the description and the JIT agree on.

    weight_layout(program)   →   ({"fc.weight.panels": 64, "fc.bias": 31424}, 31488)
    state_layout(program)    →   ({"fc.weight": 0, "fc.bias": 31360}, 31424)
    statuses(program)        →   (Status(0, "ok"), Status(1, "a pointer is null"), …)

NAME_run takes the sizes, the inputs, the outputs, the weights, the state where the program has any,
the workspace, then the pool. The weights are what NAME_prepare makes of the parameters: a
fingerprint, then the parameters and the prepared buffers that a run reads. The state is what a run
reads and writes in place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from stepwell.ir.loop.core import ALIGNMENT, Kernel, Program, ProgramBuffer
from stepwell.ir.loop.printer import buffer_line, call_line, format_block, signature_line
from stepwell.ir.size import evaluate

OK, NULL_POINTER, NEGATIVE_SIZE, SIZE_OVERFLOW, MISALIGNED, FOREIGN_WEIGHTS = range(6)
_FIXED = (
    (OK, "ok"),
    (NULL_POINTER, "a pointer is null"),
    (NEGATIVE_SIZE, "a size is negative, or makes a shape negative"),
    (SIZE_OVERFLOW, "the sizes are too large: a buffer would have more than 2^62 bytes"),
    (MISALIGNED, f"the workspace, weights or state are not aligned to {ALIGNMENT} bytes"),
    (FOREIGN_WEIGHTS, "the weights were not prepared for this model as it is compiled here"),
)


@dataclass(frozen=True)
class Status:
    """What a return value of NAME_run means."""

    code: int
    message: str


def statuses(program: Program) -> tuple[Status, ...]:
    """Every status: the fixed ones, the constraints in order, then the kernels' checks."""
    found = [Status(code, message) for code, message in _FIXED]
    for message in program.messages:
        found.append(Status(len(found), message))
    return tuple(found)


def codes(program: Program) -> dict[str, int]:
    """The status of each constraint's or check's message."""
    return {status.message: status.code for status in statuses(program)[len(_FIXED) :]}


def weight_layout(program: Program) -> tuple[dict[str, int], int]:
    """Where each parameter and prepared buffer that a run reads lies in the weights, in bytes, and
    how many bytes these have. The fingerprint lies at 0."""
    return _laid_out(program.held, ALIGNMENT if program.held else 0)


def state_layout(program: Program) -> tuple[dict[str, int], int]:
    """Where each state lies in the block of them all, in bytes, and how many bytes that has."""
    return _laid_out(program.with_role("state"), 0)


def _laid_out(items: Sequence[ProgramBuffer], total: int) -> tuple[dict[str, int], int]:
    """Aligned offsets from `total` on, and where the last buffer ends."""
    offsets: dict[str, int] = {}
    for item in items:
        offsets[item.buffer.name] = total
        size = evaluate(item.buffer.bytes, {})
        total += -(-size // ALIGNMENT) * ALIGNMENT
    return offsets, total


def fingerprint(program: Program) -> int:
    """A number below 2^63 that tells weights of one program from those of another: what lies in
    them, and how it is prepared."""
    lines = [
        *(buffer_line(item) for item in program.with_role("parameter")),
        *(f"{name} at {offset}" for name, offset in weight_layout(program)[0].items()),
        *(call_line(call) for call in program.preparations),
        *(
            f"{signature_line(kernel)}\n{format_block(kernel.body)}"
            for kernel in preparation_kernels(program)
        ),
    ]
    digest = hashlib.sha256("\n".join(lines).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def preparation_kernels(program: Program) -> tuple[Kernel, ...]:
    """The kernels that NAME_prepare runs."""
    names = {call.kernel for call in program.preparations}
    return tuple(kernel for kernel in program.kernels if kernel.name in names)
