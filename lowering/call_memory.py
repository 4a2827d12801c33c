"""What calls take of the workspace, in bytes at nominal sizes.

In: a program, its memory not planned; an order of its calls. Out: the most that is live at once.

    call f(x, a)    call g(a, b)    call h(b, y)      a and b live at once: 512 bytes
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from stepwell.ir.loop.core import Call, Program, aligned, scratch_bytes
from stepwell.ir.size import substitute
from stepwell.lowering.fusion_group import nominal


@dataclass(frozen=True)
class CallMemory:
    """Of a program's calls, by their numbers."""

    program: Program

    @cached_property
    def temporaries(self) -> dict[str, int]:
        """The bytes of each."""
        items = self.program.with_role("temporary")
        return {item.buffer.name: nominal(aligned(item.buffer.bytes)) for item in items}

    @cached_property
    def touched(self) -> list[list[str]]:
        """The temporaries of each call, each once."""
        return [
            [name for name in dict.fromkeys(call.arguments) if name in self.temporaries]
            for call in self.program.calls
        ]

    @cached_property
    def scratch(self) -> list[int]:
        """The scratch of each call."""
        return [self._scratch(call) for call in self.program.calls]

    def _scratch(self, call: Call) -> int:
        kernel = self.program.kernel(call.kernel)
        sizes = dict(zip(kernel.sizes, call.sizes, strict=True))
        return nominal(substitute(scratch_bytes(kernel), sizes))

    def most(self, steps: Iterable[Sequence[int]]) -> int:
        """The most that is live during any step; the calls of one step are live at once."""
        left = Counter(name for names in self.touched for name in names)
        live = most = 0
        seen: set[str] = set()
        for step in steps:
            names = [name for number in step for name in self.touched[number]]
            live += sum(self.temporaries[name] for name in {*names} - seen)
            seen.update(names)
            most = max(most, live + sum(self.scratch[number] for number in step))
            left.subtract(names)
            live -= sum(self.temporaries[name] for name in {*names} if not left[name])
        return most
