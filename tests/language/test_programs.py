"""Programs that must work and programs that must fail.

`pass/*.well` are elaborated. `fail/*.well` hold `# ERROR: SWxxxx` on the faulty line (or
`# ERROR@3: SWxxxx` anywhere, for line 3): exactly these diagnostics, in these lines.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stepwell.frontend import check, elaborate, elaborate_train, models, parse, render_ast, trains
from stepwell.frontend.training import MODES
from stepwell.ir.diagnostics import UserError
from stepwell.ir.graph import parse_graph, print_graph, verify_graph

HERE = Path(__file__).parent
PASS = sorted((HERE / "pass").glob("*.well"))
FAIL = sorted((HERE / "fail").glob("*.well"))
_EXPECTED = re.compile(r"# ERROR(?:@(\d+))?: (SW\d{4})")


def _name(path: Path) -> str:
    return path.stem


def expected(source: str) -> set[tuple[int, str]]:
    """The (line, code) pairs that a program's comments announce."""
    found = set()
    for number, line in enumerate(source.split("\n"), 1):
        for match in _EXPECTED.finditer(line):
            found.add((int(match[1] or number), match[2]))
    return found


@pytest.mark.parametrize("path", PASS, ids=_name)
def test_program_works(path: Path) -> None:
    program = check(path.read_text(encoding="utf-8"), str(path))
    graphs = [elaborate(program, model) for model in models(program)]
    for mode in MODES:
        graphs += [elaborate_train(program, train, mode) for train in trains(program)]
    for graph in graphs:
        assert graph.results
        assert all(op.span is not None for op in graph.ops)
        verify_graph(graph)
        assert parse_graph(print_graph(graph)) == graph


@pytest.mark.parametrize("path", PASS, ids=_name)
def test_printed_tree_parses_to_the_same_tree(path: Path) -> None:
    tree = parse(path.read_text(encoding="utf-8"), path.name)
    printed = render_ast(tree)
    assert parse(printed, path.name) == tree
    assert render_ast(parse(printed, path.name)) == printed


@pytest.mark.parametrize("path", FAIL, ids=_name)
def test_program_fails_where_announced(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    with pytest.raises(UserError) as caught:
        check(source, str(path))
    found = {(d.span.line, d.code) for d in caught.value.diagnostics}
    assert found == expected(source), str(caught.value)
    assert str(caught.value)
