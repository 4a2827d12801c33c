"""Measure kernels.well against this machine's ceilings and against PyTorch, one thread, one run.

    python benchmarks/run.py            prints the table
    python benchmarks/run.py --write    and puts it into docs/performance.md

Each figure is the median of 25 calls, in 5 rounds of 5. In each round Stepwell and its peers take
turns, so that a machine that changes its speed changes it for all; the first call of a turn is not
counted: it finds the caches as another left them. PyTorch is measured where it is installed.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")

from ceilings import copy_bandwidth, fma_peak

import stepwell as sw
from stepwell.ir.target import host

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    torch = None

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
ROUNDS, CALLS = 5, 5
MILLION4 = 4096 * 1024


@dataclass(frozen=True)
class Row:
    """A workload: what bounds it, its work, and the same in PyTorch on (inputs, parameters)."""

    model: str
    bound: str  # "compute": work is FLOP; "memory": work is bytes read and written at least once
    work: int
    peer: Callable[..., object]


def _conv(x, p):
    return F.relu(F.conv2d(x, p["conv2d.weight"], p["conv2d.bias"], padding=1))


def _mlp(x, p):
    x = F.relu(x @ p["dense.weight"] + p["dense.bias"])
    x = F.relu(x @ p["dense_2.weight"] + p["dense_2.bias"])
    return torch.softmax(x @ p["dense_3.weight"] + p["dense_3.bias"], -1)


ROWS = [
    Row("matmul", "compute", 2 * 1024**3, lambda x, w, p: x @ w),
    Row("conv3x3", "compute", 2 * 64 * 64 * 9 * 56 * 56, _conv),
    Row("mlp", "compute", 2 * 128 * (784 * 512 + 512 * 512 + 512 * 10), _mlp),
    Row("elementwise", "memory", 8 * MILLION4,
        lambda x, a, b, p: F.gelu(x * a + b) * torch.sigmoid(x) + x),
    Row("softmax_rows", "memory", 8 * MILLION4, lambda x, p: torch.softmax(x, -1)),
    Row("layer_norm_rows", "memory", 8 * MILLION4,
        lambda x, p: F.layer_norm(x, (1024,), p["layer_norm.scale"], p["layer_norm.shift"])),
]  # fmt: skip


def medians(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds per call of each, the calls taking turns."""
    for call in calls.values():
        for _ in range(3):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            call()
            for _ in range(CALLS):
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(row: Row) -> dict[str, float]:
    """Seconds of Stepwell and of each peer on one workload."""
    model = sw.compile(HERE / "kernels.well", model=row.model)
    generator = np.random.default_rng(0)
    inputs = [
        generator.standard_normal(spec.type.shape).astype(np.float32)
        for spec in model.signature.inputs
    ]
    calls: dict[str, Callable[[], object]] = {"stepwell": lambda: model(*inputs)}
    if torch is not None:
        torch.set_num_threads(1)
        tensors = [torch.from_numpy(x) for x in inputs]
        parameters = {k: torch.from_numpy(np.array(v)) for k, v in model.parameters.items()}
        compiled = torch.compile(row.peer)

        def eager() -> object:
            with torch.inference_mode():
                return row.peer(*tensors, parameters)

        def fused() -> object:
            with torch.inference_mode():
                return compiled(*tensors, parameters)

        error = np.abs(eager().numpy() - model(*inputs)).max()
        if not error < 1e-3:
            raise SystemExit(f"{row.model} differs from PyTorch by {error}")
        calls |= {"torch eager": eager, "torch.compile": fused}
    return medians(calls)


def table() -> str:
    """The measurements as a Markdown table, ceilings first."""
    peak, copy = fma_peak(), copy_bandwidth(4 * MILLION4)
    lines = [
        f"One thread of a machine with {host().vector_bits}-bit vectors ({platform.machine()}), "
        f"f32. In the same run: {peak:.0f} GFLOP/s of multiply-adds in registers (compute), "
        f"{copy:.1f} GB/s copying 16 MiB (memory).",
        "",
        "| workload | bound by | Stepwell, ms | of the bound | torch eager, ms | torch.compile, ms "
        "| best peer ÷ Stepwell |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in ROWS:
        seconds = measure(row)
        own = seconds["stepwell"]
        ceiling = peak if row.bound == "compute" else copy
        share = row.work / own / 1e9 / ceiling
        peers = [seconds.get(name) for name in ("torch eager", "torch.compile")]
        best = min((s for s in peers if s), default=None)
        cells = [f"{s * 1e3:.2f}" if s else "not installed" for s in peers]
        ratio = f"{best / own:.2f}" if best else ""
        lines.append(
            f"| {row.model} | {row.bound} | {own * 1e3:.2f} | {share:.0%} "
            f"| {cells[0]} | {cells[1]} | {ratio} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs")
    arguments = parser.parse_args()
    text = table()
    print(text)
    if arguments.write:
        page = PAGE.read_text()
        before, rest = page.split("<!-- table -->")[0], page.split("<!-- end of table -->")[1]
        PAGE.write_text(f"{before}<!-- table -->\n{text}\n<!-- end of table -->{rest}")


if __name__ == "__main__":
    main()
