"""Random numbers: how many a second, here and by NumPy's and PyTorch's generators, one thread.

    taskset -c 0 python benchmarks/random_numbers.py

Each row draws 4 Mi numbers in f32 into an array; the best of some runs. `dropout` reads and writes
as many, with p = 0.1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import stepwell as sw

COUNT = 1 << 22
RUNS = 15
SOURCE = f"""\
model uniform_(x: f32[1]) -> f32[{COUNT}] {{ uniform([{COUNT}]) }}
model normal_(x: f32[1]) -> f32[{COUNT}] {{ normal([{COUNT}]) }}
model dropout_(x: f32[{COUNT}]) -> f32[{COUNT}] {{
    select(bernoulli([{COUNT}], 0.9, dtype: bool), x * (1 / 0.9), 0)
}}
"""


def main() -> None:
    rows = {"stepwell": ours(), "numpy Philox": numpys(np.random.Philox)}
    rows["numpy SFC64"] = numpys(np.random.SFC64)
    rows["torch"] = torchs()
    print("| million numbers a second | uniform | normal | dropout |\n|---|---:|---:|---:|")
    for name, times in rows.items():
        cells = [f"{COUNT / t / 1e6:.0f}" if t else "" for t in times]
        print(f"| {name} | {' | '.join(cells)} |")


def best(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def ours() -> list[float]:
    found = []
    for name in ("uniform_", "normal_", "dropout_"):
        model = sw.compile(SOURCE, name, threads=1)
        x = np.ones(COUNT if name == "dropout_" else 1, np.float32)
        found.append(best(model.native_call(x, seed=1)))
    return found


def numpys(generator: Callable[[int], np.random.BitGenerator]) -> list[float]:
    draw, out = np.random.Generator(generator(1)), np.empty(COUNT, np.float32)
    uniform = best(lambda: draw.random(out=out, dtype=np.float32))
    return [uniform, best(lambda: draw.standard_normal(out=out, dtype=np.float32)), 0.0]


def torchs() -> list[float]:
    torch.set_num_threads(1)
    x = torch.ones(COUNT)
    dropout = best(lambda: torch.nn.functional.dropout(x, 0.1))
    return [best(x.uniform_), best(x.normal_), dropout]


if __name__ == "__main__":
    main()
