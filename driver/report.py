"""What there is to know about a compiled model: its kernels and its memory.

In: a planned `Program`. Out: records that print as tables, and that the cache keeps as JSON.

    kernel               family       ops                     flops       bytes
    matmul_add_relu      contraction  contract, add, max      16640*N     768*N + 33280
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stepwell.ir.size import Dim, evaluate, product, substitute

if TYPE_CHECKING:
    from stepwell.ir.graph.core import Graph
    from stepwell.ir.loop.core import Call, Program

_READABLE = 200  # characters of a formula


@dataclass(frozen=True)
class KernelReport:
    """One call of a kernel. `flops` and `bytes` (read and written) are formulas in the sizes;
    `beside`: it runs together with the one before."""

    name: str
    family: str
    ops: tuple[str, ...]
    flops: Dim
    bytes: Dim
    beside: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.family}): {', '.join(self.ops)}"


class Kernels(tuple[KernelReport, ...]):
    """The calls of a model in order; prints as a table, `+` before what runs with the one above."""

    __slots__ = ()

    @property
    def steps(self) -> int:
        """How many there are one after another: calls that are together count once."""
        return sum(not kernel.beside for kernel in self)

    def __repr__(self) -> str:
        rows = [("kernel", "family", "ops", "flops", "bytes")]
        for k in self:
            name = f"+ {k.name}" if k.beside else k.name
            rows.append((name, k.family, ", ".join(k.ops), str(k.flops), str(k.bytes)))
        return table(rows)

    __str__ = __repr__


@dataclass(frozen=True)
class Saved:
    """What lives from the forward to the backward pass of a step."""

    name: str
    type: str
    bytes: Dim

    def __str__(self) -> str:
        return f"{self.name}: {self.type}, {self.bytes} bytes"


@dataclass(frozen=True)
class Memory:
    """Bytes as formulas in the sizes: `planned` is the workspace with reuse, `naive` the sum of all
    that lies in it; `weights` and `state` are numbers. The first two may depend on how many threads
    there are. `saved` is what a step keeps in the workspace for its backward pass."""

    planned: Dim
    naive: Dim | None
    weights: int
    threads: int = 1
    state: int = 0
    saved: tuple[Saved, ...] = ()

    def at(self, /, **sizes: int) -> Memory:
        """The same in numbers."""
        from stepwell.ir.loop.core import THREADS

        known = {**sizes, THREADS: self.threads}
        naive = None if self.naive is None else evaluate(self.naive, known)
        saved = tuple(replace(item, bytes=evaluate(item.bytes, known)) for item in self.saved)
        return replace(self, planned=evaluate(self.planned, known), naive=naive, saved=saved)

    def __str__(self) -> str:
        without = "" if self.naive is None else f" (without reuse {_short(self.naive)})"
        state = f", states {self.state} bytes" if self.state else ""
        head = f"workspace {_short(self.planned)} bytes{without}, weights {self.weights} bytes"
        return "\n".join([f"{head}{state}", *(f"  saved  {item}" for item in self.saved)])


def _short(dim: Dim) -> str:
    """A formula, where it can be read; else what it is of."""
    text = str(dim)
    return text if len(text) <= _READABLE else "(a formula: see `.at(…)`)"


def report(program: Program, graph: Graph | None) -> dict[str, Any]:
    """Kernels and memory of a planned program, as JSON. What it saves for a backward pass is known
    where the graph is that it was made of."""
    from stepwell.lowering.plan_memory import naive_bytes
    from stepwell.saved import saved_activations

    return {
        "kernels": calls_json(program),
        "naive": dim_json(naive_bytes(program)),
        "saved": [
            {
                "name": item.buffer.name,
                "type": str(item.buffer.type),
                "bytes": dim_json(item.buffer.bytes),
            }
            for item in (saved_activations(program, graph) if graph else ())
        ],
    }


def calls_json(program: Program) -> list[dict[str, Any]]:
    """The calls of a program, as JSON."""
    return [_kernel(program, call) for call in program.calls]


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
        "beside": call.beside,
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
            parse_dim(item["flops"]), parse_dim(item["bytes"]), item["beside"],
        )
        for item in items
    )  # fmt: skip


def saved_report(items: Iterable[Mapping[str, Any]]) -> tuple[Saved, ...]:
    """From JSON."""
    from stepwell.signature import parse_dim

    return tuple(Saved(item["name"], item["type"], parse_dim(item["bytes"])) for item in items)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns of even width; the first is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
