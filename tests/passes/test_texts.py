"""The text tests of this folder: `*.sw` files of IR, each with a pipeline and what to look for.

Those of the graph passes lie here, those of the loop passes in `loops/`.

    // RUN: stepwell opt %s --passes 'canonicalize,fuse'
    graph @f(%x: f32[4]) { … }
    // CHECK: kernel(%x) {name = "relu"

Cases in one file are separated by `// -----`; each has its own RUN line. Every pass of the pipeline
is run with all its promises checked (`checked.py`).
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from checked import run_checked
from filecheck.matcher import Matcher
from filecheck.options import Options

from stepwell.ir.graph import parse_graph, print_graph
from stepwell.ir.loop import format_loops, parse_loops
from stepwell.ir.passes import parse_pipeline, run_pipeline
from stepwell.lowering import passes

HERE = Path(__file__).parent
_REGISTERED = {item.name: item for item in (*passes.GRAPH_PASSES, *passes.LOOP_PASSES)}


def _cases() -> list[pytest.ParameterSet]:
    found = []
    for path in sorted(HERE.rglob("*.sw")):
        for text in path.read_text().split("// -----\n"):
            name = re.search(r"^(?:graph @|program |kernel )(\w+)", text, re.MULTILINE)
            assert name, f"a case of {path.name} has no graph, program or kernel"
            found.append(pytest.param(text, id=f"{path.stem}-{name[1]}"))
    return found


def _after(text: str) -> str:
    run = re.search(r"^// RUN: stepwell opt %s --passes '(.*)'$", text, re.MULTILINE)
    assert run, "no RUN line"
    items = parse_pipeline(run[1], passes=_REGISTERED)
    if not text.lstrip().splitlines()[1].startswith("graph"):
        return format_loops(run_pipeline(parse_loops(text), items, check=True))
    graph = parse_graph(text)
    for item in items:
        graph = run_checked(item, graph)
    return print_graph(graph)


def _filecheck(output: Path, checks: Path) -> str:
    """What FileCheck has to say; nothing where all is as it should be."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = Matcher.from_opts(Options(str(checks), str(output))).run()
    return said.getvalue() or "failed" if code else ""


@pytest.mark.parametrize("text", _cases())
def test_text(text: str, tmp_path: Path) -> None:
    checks, output = tmp_path / "checks.sw", tmp_path / "output.sw"
    checks.write_text(text)
    output.write_text(_after(text))
    complaint = _filecheck(output, checks)
    assert not complaint, f"{complaint}\n{output.read_text()}"


def test_a_wrong_expectation_is_caught(tmp_path: Path) -> None:
    checks, output = tmp_path / "checks.sw", tmp_path / "output.sw"
    checks.write_text("// CHECK: %y = exp(%x)\n// CHECK-NOT: log\n")
    output.write_text("%y = exp(%x)\n%z = log(%y)\n")
    assert _filecheck(output, checks)
