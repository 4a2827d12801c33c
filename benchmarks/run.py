"""Measure Stepwell and its peers on the workloads of `peers/`, and make the tables of the docs.

    python benchmarks/run.py --write                          everything; docs/performance.md
    python benchmarks/run.py --workloads mlp_b1 --threads 1   a part, printed
    python benchmarks/run.py --resume --write                 go on where an earlier run stopped
    python benchmarks/run.py --again --write                  all once more: the faster run counts

Each cell is measured in a process of its own (`cell.py`), restricted to as many cores as it has
threads; what was measured is kept, a line of JSON per cell, and `--resume` measures only the rest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from page import tables, write_page

from stepwell.bench.peers import PEERS
from stepwell.terminal import Progress

HERE = Path(__file__).parent
OURS = "stepwell"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Large arrays come from the heap and stay there. By default glibc maps and unmaps them at every
# call, and the page faults cost some peers several times the computation.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
COLD = {"TORCHINDUCTOR_FX_GRAPH_CACHE": "0", "TORCHINDUCTOR_AUTOGRAD_CACHE": "0"}
LIMIT = 300  # seconds for a cell

Record = dict[str, Any]
Key = tuple[str, str, int]


def workloads() -> list[str]:
    """The models and steps of training of `peers/`."""
    sources = {path.stem: path.read_text() for path in (HERE / "peers").glob("*.well")}
    return sorted(name for name, text in sources.items() if "model " in text)


def trains(name: str) -> bool:
    """Whether a workload is a step of training."""
    return "\ntrain " in (HERE / "peers" / f"{name}.well").read_text()


def able(name: str, peers: list[str]) -> list[str]:
    """The peers that can do a workload: to train, or else all."""
    return [p for p in peers if p == OURS or not trains(name) or PEERS[p].step is not None]


def chosen(text: str, known: list[str], kind: str) -> list[str]:
    """Names from `a,b`, or all. Exits with the names there are."""
    names = known if text == "all" else text.split(",")
    for name in names:
        if name not in known:
            raise SystemExit(f"no {kind} is called {name}; there are {', '.join(known)}")
    return names


def measured(name: str, peers: list[str], threads: list[int], done: set[Key]) -> Iterator[Record]:
    """The records of a workload's cells that are not done yet."""
    wanted = [(p, t) for t in threads for p in able(name, peers) if (p, name, t) not in done]
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as scratch:
        case = Path(scratch) / "case"
        subprocess.run([*_cell("build"), name, str(case)], check=True, capture_output=True)
        for peer, count in wanted:
            record = _measure(peer, name, count, case, Path(scratch) / f"cache-{peer}-{count}")
            about = {"workload": name, "trains": trains(name)}
            yield {"peer": peer, **about, "threads": count, **record}


def _cell(command: str) -> list[str]:
    return [sys.executable, str(HERE / "cell.py"), command]


def _measure(peer: str, name: str, threads: int, case: Path, cache: Path) -> Record:
    environment = {**os.environ, **ALLOCATOR, **COLD, "TORCHINDUCTOR_CACHE_DIR": str(cache)}
    environment |= {variable: str(threads) for variable in THREAD_VARIABLES}
    environment |= {"STEPWELL_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu"}
    command = [*_cell("run"), peer, name, str(threads), str(case)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace",
            timeout=LIMIT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"status": "failed", "reason": f"no result in {LIMIT} seconds"}
    for line in done.stdout.splitlines():
        if line.startswith("RECORD "):
            record: Record = json.loads(line.removeprefix("RECORD "))
            return record
    last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
    return {"status": "failed", "reason": f"exit {done.returncode}: {last}"[:200]}


def fastest(records: list[Record]) -> list[Record]:
    """A record for each cell: of the runs of one that was measured again, the least disturbed."""
    best: dict[Key, Record] = {}
    for record in records:
        key = (record["peer"], record["workload"], record["threads"])
        other = best.get(key, record)
        best[key] = min(other, record, key=lambda r: r.get("median", math.inf))
    return list(best.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    installed = [name for name, peer in PEERS.items() if not peer.missing]
    parser.add_argument("--workloads", default="all", help="names with commas between, or all")
    parser.add_argument("--peers", default="all", help=f"of {', '.join(installed)} (all)")
    parser.add_argument("--threads", default="1,2", help="default: 1,2")
    parser.add_argument(
        "--results", default="build/benchmarks.jsonl", help="where records are kept"
    )
    parser.add_argument("--resume", action="store_true", help="keep what --results holds")
    parser.add_argument(
        "--again", action="store_true",
        help="keep it, and measure its cells too: a machine that others share disturbs some",
    )  # fmt: skip
    parser.add_argument("--write", action="store_true", help="put the tables into docs")
    arguments = parser.parse_args()
    names = chosen(arguments.workloads, workloads(), "workload")
    peers = [OURS, *chosen(arguments.peers, installed, "installed peer")]
    threads = [int(count) for count in arguments.threads.split(",")]

    results = Path(arguments.results)
    results.parent.mkdir(parents=True, exist_ok=True)
    if not arguments.resume and not arguments.again:
        results.write_text("")
    records = [json.loads(line) for line in results.read_text().splitlines()]
    records = [r for r in records if r["status"] == "ok"]
    done: set[Key] = set()
    if not arguments.again:
        done = {(r["peer"], r["workload"], r["threads"]) for r in records}
    total = sum(len(able(name, peers)) for name in names) * len(threads)
    total += len(records) - len(done)
    begun = time.monotonic()
    with Progress() as progress, results.open("a") as file:
        for name in names:
            progress.say(f"{len(records)} of {total}: {name}, {time.monotonic() - begun:.0f} s")
            for record in measured(name, peers, threads, done):
                records.append(record)
                file.write(json.dumps(record) + "\n")
                file.flush()
                progress.say(f"{len(records)} of {total}: {name}, {time.monotonic() - begun:.0f} s")
    kept = {*peers, *(record["peer"] for record in records)} if arguments.again else {*peers}
    wanted = [r for r in fastest(records) if r["workload"] in names and r["threads"] in threads]
    text = tables([r for r in wanted if r["peer"] in kept])
    print(text)
    if arguments.write:
        write_page(text)


if __name__ == "__main__":
    main()
