"""The workspace of every network that ships is close to what is live at once in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.compilation import Compilation, Options
from stepwell.ir.loop.core import THREADS
from stepwell.ir.size import symbols
from stepwell.lowering.plan_memory import memory_report
from stepwell.source import read_source

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "benchmarks" / "peers").glob("*.well"))
SOURCES = [path for path in SOURCES if path.stem != "torch_layers"]
SOURCES += [ROOT / "examples" / f"{name}.well" for name in ("resnet18", "mobilenetv2")]
SOURCES += [ROOT / "examples" / "digits" / f"{name}.well" for name in ("digits", "mlp")]
TRAINED = {"char_gpt/char_gpt": 32, "denoiser/denoiser": 16, "digits/digits": 64}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_workspace_is_close_to_the_bound(path: Path) -> None:
    _require_close(Compilation(read_source(path)), (1, 2, 32))


@pytest.mark.parametrize("name", TRAINED)
def test_the_workspace_of_a_training_step_is_close_to_the_bound(name: str) -> None:
    """At the batch with which the example is trained."""
    source = read_source(ROOT / "examples" / f"{name}.well")
    _require_close(Compilation(source, Options(mode="step")), (TRAINED[name],))


def _require_close(compilation: Compilation, sizes: tuple[int, ...]) -> None:
    report = memory_report(compilation.program)
    names = symbols(report.planned) | symbols(report.naive) | symbols(report.peak)
    for n in sizes:
        planned, naive, peak = report.at({**dict.fromkeys(names, n), THREADS: 2})
        assert peak <= planned <= naive
        assert planned <= 1.1 * peak
