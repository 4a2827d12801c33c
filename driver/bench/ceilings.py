"""What this machine can do at best, measured now: FMA rate, bandwidths, latencies, fork-join.

In: how many threads. Out: `Ceilings`. The kernels are `ceiling_programs`; each thread runs its own
copy of them on its own arrays, all at once, and the best of several runs counts.

    measure(1).levels["L2"].read   →   230e9 bytes per second
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from stepwell.api import compiled_model
from stepwell.arrays import Array
from stepwell.bench import ceiling_programs as programs
from stepwell.codegen.blocks import aligned_block
from stepwell.compilation import Compilation, Options
from stepwell.ir.dtypes import I64
from stepwell.ir.target import Target, host
from stepwell.model import Model
from stepwell.native_call import NativeCall
from stepwell.source import as_source

RUNS = 9
MOVED = 32 << 20  # bytes that a run of a memory kernel moves at least
LARGEST = 256 << 20  # bytes of an array, however large the last cache is


@dataclass(frozen=True)
class Level:
    """A cache, or the memory behind them: bytes, bytes per second, seconds of a dependent load."""

    name: str
    capacity: int
    read: float
    copy: float  # bytes read and bytes written, together
    latency: float

    @property
    def write(self) -> float:
        """Bytes written per second, by what copying takes beyond reading."""
        rest = 2 / self.copy - 1 / self.read
        return 1 / max(rest, 0.25 / self.copy)


@dataclass(frozen=True)
class Ceilings:
    """The limits for so many threads together."""

    threads: int
    flops: float  # multiply-adds in f32, two operations each, per second
    levels: dict[str, Level]  # from L1 to memory
    call: float  # seconds of a kernel that does nothing
    fork: float  # seconds of a parallel loop that does nothing; 0 where there is one thread

    def level_of(self, size: float) -> Level:
        """The nearest level that holds so many bytes."""
        fitting = (level for level in self.levels.values() if size <= level.capacity)
        return next(fitting, list(self.levels.values())[-1])


def measure(threads: int = 1, tell: Callable[[str], None] = lambda _: None) -> Ceilings:
    """All ceilings; takes about two seconds. `tell` hears what is measured."""
    target = host()
    tell("multiply-adds")
    probe = programs.fma(target)
    pair = np.array([0.5, 0.25], np.float32)
    flops = probe.work * threads / _seconds(_calls(probe.text, threads, lambda: (pair,)))
    levels = {}
    for name, capacity, size in _sizes(target, threads):
        tell(name)
        levels[name] = _level(target, threads, name, capacity, size)
    tell("calls")
    call = _call_seconds(programs.nothing(), 1, 1)
    fork = _call_seconds(programs.fork(), programs.TEAM, threads) - call if threads > 1 else 0.0
    return Ceilings(threads, flops, levels, call, fork)


@cache
def function_seconds(name: str) -> float:
    """Seconds that one application of a function takes, where vectors of them are computed."""
    probe = programs.apply(host(), name)
    numbers = np.linspace(0.1, 0.9, probe.elements, dtype=np.float32)
    call = _model(probe.text).native_call(numbers, np.full(1, 1.5, np.float32))
    return _seconds([call]) / probe.work


def _sizes(target: Target, threads: int) -> Iterable[tuple[str, int, int]]:
    """(name, capacity for all threads, bytes of a thread's arrays that surely live there)."""
    yield "L1", target.l1 * threads, target.l1 // 2
    yield "L2", target.l2 * threads, target.l2 // 2
    yield "L3", target.l3, target.l3 // (4 * threads)
    yield "memory", 1 << 62, min(4 * target.l3, LARGEST) // threads


def _level(target: Target, threads: int, name: str, capacity: int, size: int) -> Level:
    probe = programs.read(target, size, MOVED)
    reading = _calls(probe.text, threads, lambda: (_floats(probe.elements),))
    read = probe.work * threads / _seconds(reading)
    stores = ("", "stream") if name == "memory" else ("",)
    copy = max(_copy_rate(target, threads, size, store) for store in stores)
    return Level(name, capacity, read, copy, _latency(size))


def _copy_rate(target: Target, threads: int, size: int, store: str) -> float:
    probe, scale = programs.copy(target, size, MOVED, store), np.ones(1, np.float32)
    calls = _calls(probe.text, threads, lambda: (_floats(probe.elements), scale))
    return probe.work * threads / _seconds(calls)


def _latency(size: int) -> float:
    """Seconds of a load that the next one waits for, in a walk through all cache lines."""
    step = host().line // I64.bytes
    count = max(2, size // host().line)
    places = np.random.default_rng(0).permutation(count) * step
    chain = aligned_block(count * step * I64.bytes).view(np.int64)
    chain[places] = np.roll(places, -1)
    probe = programs.chase(chain.size)
    call = _model(probe.text).native_call(chain, np.zeros(1, np.int64))
    best = float("inf")
    for _ in range(max(RUNS, 3 * count // probe.work)):  # each goes on where the last came to
        best = min(best, _elapsed(call))
        call.inputs[1][:] = call.outputs[0]
    return best / probe.work


def _call_seconds(text: str, elements: int, threads: int) -> float:
    """Seconds of a call of a kernel that does next to nothing."""
    model = _model(text, threads, profile=True)
    call = model.native_call(np.ones(elements, np.float32))
    return float(np.median([call.profile() for _ in range(100)]))


def _model(text: str, threads: int = 1, profile: bool = False) -> Model:
    compilation = Compilation(as_source(text), Options(profile=profile))
    return compiled_model(compilation, None, 0, threads=threads)


def _floats(count: int) -> Array:
    array: Array = aligned_block(4 * count).view(np.float32)
    array[:] = 1.0
    return array


def _calls(text: str, threads: int, inputs: Callable[[], tuple[Array, ...]]) -> list[NativeCall]:
    """A call for each thread, on arrays of its own."""
    model = _model(text)
    return [model.native_call(*inputs()) for _ in range(threads)]


def _elapsed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _seconds(calls: list[NativeCall]) -> float:
    """The best time of running all calls at once, each on a core of its own."""
    if len(calls) == 1:
        return min(_elapsed(calls[0]) for _ in range(RUNS + 1))
    start = threading.Barrier(len(calls))
    spans = np.zeros((len(calls), RUNS, 2))

    def work(number: int) -> None:
        _pin(number)
        for run in range(RUNS):
            start.wait()
            spans[number, run, 0] = time.perf_counter()
            calls[number]()
            spans[number, run, 1] = time.perf_counter()

    workers = [threading.Thread(target=work, args=(n,)) for n in range(len(calls))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return float((spans[:, :, 1].max(0) - spans[:, :, 0].min(0)).min())


def _pin(number: int) -> None:
    """This thread to a core of its own, where the system can be told."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})
