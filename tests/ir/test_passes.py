"""Pipelines read and print; checking names the first pass that changed the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from stepwell.ir.catalogue_texts import PIPELINES
from stepwell.ir.checking import difference
from stepwell.ir.diagnostics import InternalError, UserError
from stepwell.ir.dtypes import F32
from stepwell.ir.graph import Graph, GraphBuilder, Value
from stepwell.ir.graph.core import Constraint
from stepwell.ir.graph.registry import lookup
from stepwell.ir.passes import format_pass, parse_pipeline, run_pipeline
from stepwell.ir.size import symbol
from stepwell.ir.types import TensorType


@dataclass(frozen=True)
class Nothing:
    name: ClassVar[str] = "nothing"
    limit: int = 3
    deep: bool = False
    target: str = "native"

    def run(self, graph: Graph) -> Graph:
        return graph


@dataclass(frozen=True)
class Swap:
    """Replace every op of one name by another operator."""

    name: ClassVar[str] = "swap"
    old: str
    new: str

    def run(self, graph: Graph) -> Graph:
        ops = [
            replace(op, definition=lookup(self.new)) if op.name == self.old else op
            for op in graph.ops
        ]
        return replace(graph, ops=tuple(ops))


@dataclass(frozen=True)
class Fold:
    name: ClassVar[str] = "fold"
    limit: int = 1

    def run(self, graph: Graph) -> Graph:
        raise KeyError("surprise")


PASSES = {"nothing": Nothing, "swap": Swap, "fold": Fold}


def graph() -> Graph:
    b = GraphBuilder("f", ("N", "H"))
    n, h = symbol("N"), symbol("H")
    b.constraints.append(Constraint(h, "%", 3, "three parts"))
    x = b.input("x", TensorType(F32, (n, h)))
    y = b.op("exp", [x], hint="y")
    return b.finish([("out", b.op("reduce_max", [y], axes=(1,)))])


def test_pipelines_read_and_print() -> None:
    text = 'nothing,swap{old="exp",new=neg},nothing{limit=5,deep=true,target="x86-64-v3"}'
    passes = parse_pipeline(text, passes=PASSES)
    assert passes == (Nothing(), Swap("exp", "neg"), Nothing(5, True, "x86-64-v3"))
    assert parse_pipeline(",".join(map(format_pass, passes)), passes=PASSES) == passes
    assert parse_pipeline("", passes=PASSES) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothin", "did you mean `nothing`?"),
        ("xyz", "passes are fold, nothing, swap"),
        ("nothing{limt=3}", "did you mean `limit`?"),
        ("nothing{limit=many}", "`limit` of nothing is of type int, not `many`"),
        ("nothing{deep=1}", "`deep` of nothing is of type bool, not `1`"),
        ("nothing{limit 3}", "expected `=`, found `3`"),
        ("nothing{limit=3", "expected `,`, found the end"),
        ("nothing nothing", "expected `,`, found `nothing`"),
        ("swap{old=exp}", "swap needs the option `new`"),
        ("nothing{limit=}", "is of type int, not `}`"),
        ("{", "there is no pass `{`"),
    ],
)
def test_mistakes_in_pipelines(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_pipeline(text, passes=PASSES)
    assert message in str(caught.value)


@pytest.mark.parametrize("entry", PIPELINES, ids=lambda entry: entry.code)
def test_the_catalogue_examples_fail(entry: object) -> None:
    with pytest.raises(UserError) as caught:
        parse_pipeline(entry.example, passes=PASSES)  # type: ignore[attr-defined]
    assert caught.value.diagnostics[0].code == entry.code  # type: ignore[attr-defined]


def test_a_right_pass_passes() -> None:
    seen = []
    result = run_pipeline(
        graph(), [Nothing(), Swap("neg", "abs")], True, lambda p, a, b: seen.append(p.name)
    )
    assert result == graph()
    assert seen == ["nothing", "swap"]


def test_the_first_pass_that_changed_the_answer_is_named() -> None:
    passes = [Nothing(), Swap("exp", "exp2"), Swap("exp2", "sin")]
    with pytest.raises(InternalError) as caught:
        run_pipeline(graph(), passes, check=True)
    error = caught.value
    assert "the pass swap changed the answer: `out` differs by" in error.message
    assert error.pipeline == 'swap{old="exp",new="exp2"}'
    assert "= exp(%x)" in error.reproducer


def test_a_pass_that_breaks_a_rule_is_named() -> None:
    with pytest.raises(InternalError, match="the pass swap broke a rule: is_nan gives bool"):
        run_pipeline(graph(), [Swap("exp", "is_nan")], check=True)


def test_a_pass_that_raises_is_a_bug_with_a_reproducer() -> None:
    with pytest.raises(InternalError, match="the pass fold raised KeyError") as caught:
        run_pipeline(graph(), [Fold()])
    assert caught.value.reproducer.startswith("graph @f[N, H]")


def test_differences() -> None:
    x = np.array([1.0, np.nan, np.inf], np.float32)
    assert difference(x, x) is None
    assert difference(x, x.astype(np.float64)) is not None
    assert difference(x, np.array([1.0, 0.0, np.inf], np.float32)) is not None
    assert difference(x, np.array([1.1, np.nan, np.inf], np.float32)) is not None
    assert difference(np.array([1, 2]), np.array([1, 3])) == "differs"


def test_a_lost_result_is_named() -> None:
    @dataclass(frozen=True)
    class Lose:
        name: ClassVar[str] = "lose"

        def run(self, graph: Graph) -> Graph:
            value: Value = graph.results[0][1]
            return replace(graph, results=(("other", value),))

    with pytest.raises(InternalError, match="changed the results from"):
        run_pipeline(graph(), [Lose()], check=True)
