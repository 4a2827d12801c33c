"""The tables of docs/performance.md: from records to Markdown."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("page", BENCHMARKS / "page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["page"] = module
    spec.loader.exec_module(module)
    return module


page = _page()


def _cell(workload: str, peer: str, median: float, threads: int = 1, **more: Any) -> dict[str, Any]:
    record = {"workload": workload, "peer": peer, "threads": threads, "status": "ok"}
    return {**record, "median": median, "compile": 2.0, "memory": 5e7, **more}


RECORDS = [
    _cell("a", "stepwell", 1e-3, bound="compute", fraction=0.5, cached=0.01),
    _cell("a", "torch", 4e-3),
    _cell("a", "iree", 2e-3),
    _cell("b", "stepwell", 4e-3, bound="memory", fraction=0.25, cached=0.01),
    _cell("b", "torch", 2e-3),
    {"workload": "b", "peer": "iree", "threads": 1, "status": "failed", "reason": "it fell over"},
]


def test_a_row_tells_the_best_peer_over_ours() -> None:
    text = page.tables(RECORDS)
    assert "| a | compute | 50% | 1 | 4 | 2 | 2.00 |" in text
    assert "| b | memory | 25% | 4 | 2 | – | 0.50 |" in text
    assert "| **1.00** |" in text  # the geometric mean of 2 and 1/2


def test_what_is_slower_and_what_is_not_there_is_said() -> None:
    text = page.tables(RECORDS)
    assert "- `b`: torch is 2.00 times as fast, at 50% of the bound (memory)." in text
    assert "`a`:" not in text
    assert "- iree: it fell over (b)" in text
    assert "| a | 2 | 0.01 | 2 | 2 | 50 | 50 | 50 |" in text


def test_each_number_of_threads_has_its_table() -> None:
    text = page.tables([*RECORDS, _cell("a", "stepwell", 1e-3, threads=2)])
    assert "### One thread" in text
    assert "### 2 threads" in text


def test_steps_of_training_have_a_table_of_their_own() -> None:
    steps = [_cell("t", peer, t, trains=True) for peer, t in (("stepwell", 1e-3), ("torch", 3e-3))]
    inference, training = page.tables([*RECORDS, *steps]).split("A step of training")
    assert "| t |" not in inference
    assert "| t | – | – | 1 | 3 | 3.00 |" in training.split("### Compile")[0]
