"""Outputs share memory with nothing that is still in use."""

from __future__ import annotations

import threading

import numpy as np

from stepwell.outputs import LARGE, OutputPool

F32 = np.dtype(np.float32)
SHAPE = (LARGE // 4 // 64, 64)


def place(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_a_dropped_output_is_written_again() -> None:
    pool = OutputPool()
    first = place(pool.empty(SHAPE, F32))
    assert place(pool.empty(SHAPE, F32)) == first


def test_large_outputs_begin_at_a_line_of_the_cache() -> None:
    pool = OutputPool()
    assert {place(pool.empty((LARGE + i,), F32)) % 64 for i in range(3)} == {0}


def test_an_output_in_use_is_not() -> None:
    pool = OutputPool()
    kept = pool.empty(SHAPE, F32)
    assert place(pool.empty(SHAPE, F32)) != place(kept)


def test_a_view_keeps_its_memory() -> None:
    pool = OutputPool()
    row = pool.empty(SHAPE, F32)[3, 5:]
    others = [pool.empty(SHAPE, F32) for _ in range(8)]
    assert not any(np.shares_memory(row, other) for other in others)


def test_a_buffer_keeps_its_memory() -> None:
    pool = OutputPool()
    view = memoryview(pool.empty(SHAPE, F32))
    assert not np.shares_memory(np.asarray(view), pool.empty(SHAPE, F32))


def test_small_outputs_are_plain_arrays() -> None:
    assert OutputPool().empty((3,), F32).base is None


def test_threads_never_share_one() -> None:
    pool, clashes = OutputPool(), []

    def work(number: int) -> None:
        for _ in range(200):
            mine = pool.empty(SHAPE, F32)
            mine[0] = number
            if not (mine[0] == number).all():
                clashes.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes
