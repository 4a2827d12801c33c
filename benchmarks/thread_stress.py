"""The pool of threads under stress: it must neither hang nor give one wrong number.

    python benchmarks/thread_stress.py [--joins 1000000] [--calls 2000] [--forks 100]

1. So many fork-joins in a row, for several numbers of threads: every task runs once in each, and
   the time of one is said.
2. Eight Python threads call one model so often each.
3. The same while the process is forked so many times; each child calls the model, too.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import stepwell as sw
from stepwell.codegen.jit import NativeProgram
from stepwell.codegen.process_pool import pool
from stepwell.ir.loop import parse_loops
from stepwell.ir.target import host

COUNT = """
program count[rounds] {
  output counts: i64[256]
  workspace 0
  call count[rounds, pool.threads](counts)
}
kernel count[rounds, tasks](counts: i64[256] out) pointwise {
  for i in 0..256 { counts[i] = 0 }
  for round in 0..rounds {
    for task in 0..tasks parallel { counts[task] = counts[task] + 1 }
  }
}
"""
MODEL = "model m(x: f32[N, 300]) -> f32[N, 300] { softmax(x * 2.0 + 1.0) }"
CALLERS = 8


def fork_joins(joins: int) -> None:
    native = NativeProgram.compile(parse_loops(COUNT), host())
    counts = np.zeros(256, np.int64)
    for threads in (2, 3, 7):
        started = time.perf_counter()
        assert native.run([joins], [], [counts.ctypes.data], 0, 0, pool(threads)) == 0
        seconds = time.perf_counter() - started
        assert counts.tolist() == [joins] * threads + [0] * (256 - threads)
        print(f"{joins} fork-joins of {threads} threads: {seconds / joins * 1e6:.2f} µs each")


class Callers:
    """Eight threads that call one model, each with its own input, and compare."""

    def __init__(self) -> None:
        self.model = sw.compile(MODEL, threads=3)
        random = np.random.default_rng(0)
        self.inputs = [random.standard_normal((40, 300)).astype("f") for _ in range(CALLERS)]
        single = self.model.with_threads(1)
        self.expected = [single(x) for x in self.inputs]

    def right(self, number: int, calls: int) -> bool:
        x, expected = self.inputs[number], self.expected[number]
        return all(np.array_equal(self.model(x), expected) for _ in range(calls))

    def run(self, calls: int, forks: int = 0) -> None:
        with ThreadPoolExecutor(CALLERS) as callers:
            jobs = [callers.submit(self.right, number, calls) for number in range(CALLERS)]
            for _ in range(forks):
                self.fork()
            assert all(job.result() for job in jobs)

    def fork(self) -> None:
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # a child that hangs is a failure, not a wait
            os._exit(0 if self.right(0, 20) else 1)
        status = os.waitpid(child, 0)[1]
        assert status == 0, f"a child ended with status {status}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--joins", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--forks", type=int, default=100)
    args = parser.parse_args()
    fork_joins(args.joins)
    callers = Callers()
    callers.run(args.calls)
    print(f"{CALLERS} threads called one model {args.calls} times each")
    callers.run(args.calls, args.forks)
    print(f"and the same with {args.forks} forks in between")


if __name__ == "__main__":
    main()
