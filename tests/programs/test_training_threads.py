"""Training steps end in the same bits with one thread and with two, which share the kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import stepwell as sw

BLOCK = Path(__file__).parents[2] / "benchmarks" / "peers" / "transformer_block_train_s64.well"


def test_the_number_of_threads_changes_no_bit() -> None:
    ends = []
    for threads in (1, 2):
        trainer = sw.trainer(BLOCK, seed=0, threads=threads)
        generator = np.random.default_rng(0)
        for _ in range(2):
            x = generator.standard_normal((8, 64, 256)).astype(np.float32)
            trainer.step(x, generator.integers(0, 256, 512))
        ends.append({path: array.tobytes() for path, array in trainer.parameters.items()})
    assert ends[0] == ends[1]
