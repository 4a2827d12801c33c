"""The table of operators in the documentation is the registry's."""

from __future__ import annotations

from pathlib import Path

from stepwell.ir.graph import REGISTRY
from stepwell.ir.graph.table import operator_table, with_table

DOCUMENT = Path(__file__).parents[2] / "docs" / "graph-ir.md"


def test_the_table_is_current() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_table(text) == text, "run: python -m stepwell.ir.graph.table docs/graph-ir.md"


def test_every_operator_is_in_the_table() -> None:
    table = operator_table()
    for name in REGISTRY:
        assert f"| `{name}" in table
