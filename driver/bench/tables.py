"""Measurements as tables and as JSON.

In: `Measurement`s. Out: a heading and rows of text, for `terminal.print_table`; plain dictionaries.

    kernel           calls  time      share  GFLOP/s  GB/s  from  bound    of the bound
    conv_add_relu_2  4      6.61 ms   25%    140      2.1   L2    compute  52%
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from stepwell.bench.ceilings import Ceilings
from stepwell.bench.session import OURS, KernelTime, Measurement
from stepwell.bench.timing import Spread

Row = tuple[str, ...]


def seconds_text(value: float) -> str:
    """1.23 s, 12.3 ms, 123 µs, 45 ns."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale * 0.9995:
            return f"{number_text(value / scale)} {unit}"
    return f"{value * 1e9:.0f} ns"


def number_text(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def bytes_text(value: float) -> str:
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= scale:
            return f"{number_text(value / scale)} {unit}"
    return f"{value:.0f} B"


def ceiling_rows(ceilings: Iterable[Ceilings]) -> list[Row]:
    """What the machine can do: a row for each level of memory and number of threads."""
    rows: list[Row] = [
        ("threads", "level", "read GB/s", "copy GB/s", "latency", "GFLOP/s", "call", "fork")
    ]
    for found in ceilings:
        for level in found.levels.values():
            first = level is next(iter(found.levels.values()))
            rows.append((
                str(found.threads), level.name, number_text(level.read / 1e9),
                number_text(level.copy / 1e9), seconds_text(level.latency),
                number_text(found.flops / 1e9) if first else "",
                seconds_text(found.call) if first else "",
                seconds_text(found.fork) if first and found.threads > 1 else "",
            ))  # fmt: skip
    return rows


def model_rows(measurements: Iterable[Measurement]) -> list[Row]:
    """A row for each contender and number of threads."""
    rows: list[Row] = [(
        "threads", "", "median", "least", "quartiles", "GFLOP/s", "GB/s", "bound", "of the bound",
        "÷ stepwell",
    )]  # fmt: skip
    for item in measurements:
        for name, time in item.times.items():
            rows.append((
                str(item.threads), name, seconds_text(time.median), seconds_text(time.least),
                f"{seconds_text(time.lower)} … {seconds_text(time.upper)}",
                number_text(item.work.flops / time.median / 1e9),
                number_text(item.work.bytes / time.median / 1e9),
                item.bound.name, f"{item.bound.seconds / time.median:.0%}",
                f"{time.median / item.times[OURS].median:.2f}",
            ))  # fmt: skip
    return rows


@dataclass(frozen=True)
class KernelGroup:
    """All calls of one kernel together; the bound that holds for most of their time."""

    name: str
    calls: int
    seconds: float
    spread: float  # of the quartiles, over the median
    flops: int
    bytes: int
    bound: str
    bound_seconds: float
    level: str

    @property
    def share(self) -> float:
        """Of the bound."""
        return self.bound_seconds / max(self.seconds, 1e-12)


def kernel_groups(kernels: Iterable[KernelTime]) -> list[KernelGroup]:
    """Calls of one kernel, the kernel that takes longest first."""
    groups: dict[str, list[KernelTime]] = {}
    for item in kernels:
        groups.setdefault(item.work.name, []).append(item)
    found = [_group(name, items) for name, items in groups.items()]
    return sorted(found, key=lambda group: -group.seconds)


def _group(name: str, items: list[KernelTime]) -> KernelGroup:
    longest = max(items, key=lambda item: item.time.median)
    seconds = sum(item.time.median for item in items)
    spread = sum(item.time.upper - item.time.lower for item in items)
    return KernelGroup(
        name, len(items), seconds, spread / max(seconds, 1e-12),
        sum(item.work.flops for item in items), sum(item.work.bytes for item in items),
        longest.bound.name, sum(item.bound.seconds for item in items), longest.bound.level,
    )  # fmt: skip


def kernel_rows(measurement: Measurement) -> list[Row]:
    """A row for each kernel, the one that takes longest first; then their sum."""
    rows: list[Row] = [(
        "kernel", "calls", "time", "spread", "share", "GFLOP/s", "GB/s", "FLOP/B", "from", "bound",
        "of the bound",
    )]  # fmt: skip
    groups = kernel_groups(measurement.kernels)
    total = max(sum(group.seconds for group in groups), 1e-12)
    for group in groups:
        seconds = max(group.seconds, 1e-12)
        rows.append((
            group.name, str(group.calls), seconds_text(group.seconds), f"{group.spread:.0%}",
            f"{group.seconds / total:.0%}", number_text(group.flops / seconds / 1e9),
            number_text(group.bytes / seconds / 1e9),
            number_text(group.flops / max(group.bytes, 1)),
            group.level, group.bound, f"{group.share:.0%}",
        ))  # fmt: skip
    least = sum(group.bound_seconds for group in groups)
    calls = sum(group.calls for group in groups)
    whole = ("all", str(calls), seconds_text(total), "", "", "", "", "", "", "")
    rows.append((*whole, f"{least / total:.0%}"))
    return rows


def as_json(measurements: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Everything, in seconds, bytes and operations."""
    return [_measurement(item) for item in measurements]


def _measurement(item: Measurement) -> dict[str, Any]:
    return {
        "model": item.model,
        "sizes": item.sizes,
        "threads": item.threads,
        "flops": item.work.flops,
        "bytes": item.work.bytes,
        "bound": asdict(item.bound),
        "times": {name: _time(time) for name, time in item.times.items()},
        "ceilings": asdict(item.ceilings),
        "kernels": [_kernel(kernel) for kernel in item.kernels],
    }


def _time(time: Spread) -> dict[str, float]:
    return asdict(time)


def _kernel(kernel: KernelTime) -> dict[str, Any]:
    work = kernel.work
    return {
        "name": work.name,
        "family": work.family,
        "ops": list(work.ops),
        "flops": work.flops,
        "bytes": work.bytes,
        "functions": dict(work.functions),
        "traffic": [asdict(item) for item in work.traffic],
        "time": _time(kernel.time),
        "bound": asdict(kernel.bound),
        "fraction": kernel.bound.seconds / max(kernel.time.median, 1e-12),
    }
