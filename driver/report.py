"""What there is to know about a compiled model: its kernels and its memory.

In: a planned `Program`. Out: records that print as tables, and that the cache keeps as JSON.

    kernel               family       ops                     flops       bytes
    matmul_add_relu      contraction  contract, add, max      16640*N     768*N + 33280
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepwell.ir.size import Dim, evaluate, product, substitute

if TYPE_CHECKING:
    from stepwell.ir.loop.core import Call, Program


@dataclass(frozen=True)
class KernelReport:
    """One call of a kernel. `flops` and `bytes` (read and written) are formulas in the sizes."""

    name: str
    family: str
    ops: tuple[str, ...]
    flops: Dim
    bytes: Dim

    def __str__(self) -> str:
        return f"{self.name} ({self.family}): {', '.join(self.ops)}"


class Kernels(tuple[KernelReport, ...]):
    """The calls of a model in order; prints as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        rows = [("kernel", "family", "ops", "flops", "bytes")]
        rows += [(k.name, k.family, ", ".join(k.ops), str(k.flops), str(k.bytes)) for k in self]
        return table(rows)

    __str__ = __repr__


@dataclass(frozen=True)
class Memory:
    """Bytes as formulas in the sizes: `planned` is the workspace with reuse, `naive` the sum of all
    that lies in it; `weights` is a number. Both may depend on how many threads there are."""

    planned: Dim
    naive: Dim | None
    weights: int
    threads: int = 1

    def at(self, /, **sizes: int) -> Memory:
        """The same in numbers."""
        from stepwell.ir.loop.core import THREADS

        known = {**sizes, THREADS: self.threads}
        naive = None if self.naive is None else evaluate(self.naive, known)
        return Memory(evaluate(self.planned, known), naive, self.weights, self.threads)

    def __str__(self) -> str:
        without = "" if self.naive is None else f" (without reuse {self.naive})"
        return f"workspace {self.planned} bytes{without}, weights {self.weights} bytes"


def report(program: Program) -> dict[str, Any]:
    """Kernels and memory of a planned program, as JSON."""
    from stepwell.lowering.plan_memory import memory_report

    return {
        "kernels": [_kernel(program, call) for call in program.calls],
        "naive": dim_json(memory_report(program).naive),
    }


def _kernel(program: Program, call: Call) -> dict[str, Any]:
    kernel = program.kernel(call.kernel)
    sizes = dict(zip(kernel.sizes, call.sizes, strict=True))
    moved: Dim = 0
    for parameter in kernel.parameters:
        size = product(parameter.buffer.shape) * parameter.buffer.dtype.bytes
        moved = moved + size * (2 if parameter.role == "inout" else 1)
    return {
        "name": kernel.name,
        "family": kernel.family,
        "ops": list(kernel.ops),
        "flops": dim_json(substitute(kernel.flops, sizes)),
        "bytes": dim_json(substitute(moved, sizes)),
    }


def dim_json(dim: Dim) -> int | str:
    """A dim as JSON: a number, or its text."""
    return dim if isinstance(dim, int) else str(dim)


def kernel_reports(items: Iterable[Mapping[str, Any]]) -> tuple[KernelReport, ...]:
    """From JSON."""
    from stepwell.signature import parse_dim

    return tuple(
        KernelReport(
            item["name"], item["family"], tuple(item["ops"]),
            parse_dim(item["flops"]), parse_dim(item["bytes"]),
        )
        for item in items
    )  # fmt: skip


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns of even width; the first is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
