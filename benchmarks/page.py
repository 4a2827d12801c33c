"""Records of cells as the tables of docs/performance.md.

In: a dictionary per cell. Out: Markdown: for each number of threads a table of times, the workloads
in which another is faster, and one table of compile times and memory.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stepwell.bench.tables import number_text
from stepwell.ir.target import host

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
OURS = "stepwell"
HEADS = {False: "", True: "A step of training: forward, backward, and SGD on every parameter."}

Record = dict[str, Any]
Cells = dict[tuple[str, str], Record]  # of one number of threads, by workload and peer


def tables(records: Sequence[Record]) -> str:
    """Everything between the page's markers."""
    parts = [
        f"A machine with {host().vector_bits}-bit vectors ({platform.machine()}), f32; medians."
    ]
    threads = sorted({record["threads"] for record in records})
    for count in threads:
        cells = {(r["workload"], r["peer"]): r for r in records if r["threads"] == count}
        parts += [f"### {_threads(count)}", _ceilings(cells)]
        for trains, head in HEADS.items():
            kept = {key: cell for key, cell in cells.items() if cell.get("trains", False) is trains}
            parts += [head, _times(kept), _slower(kept)] if kept else []
    first = {(r["workload"], r["peer"]): r for r in records if r["threads"] == threads[-1]}
    parts += [f"### Compile time and memory, {_threads(threads[-1]).lower()}", _costs(first)]
    failed = [record for record in records if record["status"] != "ok"]
    parts += [_reasons(failed)] if failed else []
    return "\n\n".join(part for part in parts if part)


def write_page(text: str) -> None:
    """Put the tables between the markers of docs/performance.md."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest}", encoding="utf-8")


def _threads(count: int) -> str:
    return "One thread" if count == 1 else f"{count} threads"


def _names(cells: Cells) -> tuple[list[str], list[str]]:
    """Workloads and peers, ours not among them, in the order of the records."""
    rows = list(dict.fromkeys(workload for workload, _ in cells))
    peers = [peer for peer in dict.fromkeys(peer for _, peer in cells) if peer != OURS]
    return rows, peers


def _median(cells: Cells, workload: str, peer: str) -> float | None:
    record = cells.get((workload, peer), {"status": "missing"})
    return record["median"] if record["status"] == "ok" else None


def _fastest(cells: Cells, workload: str, peers: Iterable[str]) -> tuple[str, float] | None:
    """The fastest of the peers, and its seconds."""
    times = [(t, peer) for peer in peers if (t := _median(cells, workload, peer)) is not None]
    return (min(times)[1], min(times)[0]) if times else None


def _ceilings(cells: Cells) -> str:
    """The middle of what the cells measured."""
    found = [record["ceilings"] for record in cells.values() if "ceilings" in record]
    if not found:
        return ""
    middle = sorted(found, key=lambda ceilings: ceilings["flops"])[len(found) // 2]
    levels = "; ".join(
        f"{name} {number_text(level['read'] / 1e9)} and {number_text(level['copy'] / 1e9)}"
        for name, level in middle["levels"].items()
    )
    return (
        f"In the same run: {number_text(middle['flops'] / 1e9)} GFLOP/s of multiply-adds; GB/s of "
        f"reading and of copying: {levels}."
    )


def _times(cells: Cells) -> str:
    rows, peers = _names(cells)
    heads = ["workload", "bound by", "of the bound", f"{OURS}, ms", *peers, "best peer ÷ Stepwell"]
    lines = [_line(heads), "|---|---|" + "---:|" * (len(heads) - 2)]
    ratios = []
    for workload in rows:
        own, best = _median(cells, workload, OURS), _fastest(cells, workload, peers)
        record = cells.get((workload, OURS), {})
        times = [_milliseconds(own), *(_milliseconds(_median(cells, workload, p)) for p in peers)]
        ratio = best[1] / own if own is not None and best is not None else None
        ratios += [ratio] if ratio is not None else []
        share = f"{record['fraction']:.0%}" if "fraction" in record else "–"
        last = f"{ratio:.2f}" if ratio is not None else "–"
        lines.append(_line([workload, record.get("bound", "–"), share, *times, last]))
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines.append(_line(["**geometric mean**", *[""] * (len(heads) - 2), f"**{mean:.2f}**"]))
    return "\n".join(lines)


def _slower(cells: Cells) -> str:
    """The workloads in which a peer is faster, to be explained below the tables."""
    rows, peers = _names(cells)
    lines = []
    for workload in rows:
        own, best = _median(cells, workload, OURS), _fastest(cells, workload, peers)
        if own is None or best is None or best[1] >= own:
            continue
        record = cells[workload, OURS]
        fraction = record.get("fraction", 0.0)
        lines.append(
            f"- `{workload}`: {best[0]} is {own / best[1]:.2f} times as fast, at "
            f"{fraction * own / best[1]:.0%} of the bound ({record.get('bound', '–')})."
        )
    return "\n".join(["Where another is faster:", "", *lines]) if lines else ""


def _costs(cells: Cells) -> str:
    """Seconds from the source to the first result; peak resident memory of the process."""
    rows, peers = _names(cells)
    compilers = [OURS, *peers]
    heads = ["workload", "compile, s: stepwell", "cached", *peers]
    heads += [f"memory, MB: {OURS}", *peers]
    lines = [_line(heads), "|---|" + "---:|" * (len(heads) - 1)]
    for workload in rows:
        found = {peer: cells.get((workload, peer), {}) for peer in compilers}
        seconds = [_cell(found[peer].get("compile"), 1) for peer in compilers]
        seconds.insert(1, _cell(found[OURS].get("cached"), 1))
        memory = [_cell(found[peer].get("memory"), 1e-6) for peer in compilers]
        lines.append(_line([workload, *seconds, *memory]))
    return "\n".join(lines)


def _reasons(failed: Sequence[Record]) -> str:
    reasons: dict[str, list[str]] = {}
    for record in failed:
        reasons.setdefault(f"{record['peer']}: {record['reason']}", []).append(record["workload"])
    lines = [f"- {reason} ({', '.join(dict.fromkeys(names))})" for reason, names in reasons.items()]
    return "\n".join(["Not measured:", "", *lines])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _milliseconds(seconds: float | None) -> str:
    return _cell(seconds, 1e3)


def _cell(value: float | None, scale: float) -> str:
    return "–" if value is None else number_text(value * scale)
