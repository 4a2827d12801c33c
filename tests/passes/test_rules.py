"""Every algebraic rule: it shrinks, it applies to its sample, and it is true on its tag.

EXACT is checked bit for bit (any NaN for a NaN) on special values: signed zeros, infinities, NaN,
subnormals, the extremes of integers. REAL is checked to a tolerance on ordinary positive numbers.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from stepwell.ir.dtypes import ALL, BOOL, DType
from stepwell.ir.graph import interpret_graph
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import Array, Graph, Value
from stepwell.ir.graph.rewrite import Editor, remove_dead, rewrite
from stepwell.ir.types import TensorType
from stepwell.lowering.canonicalize import apply_rule
from stepwell.lowering.patterns import Call, Capture, Name, Number, Term, build
from stepwell.lowering.rule_functions import FUNCTIONS
from stepwell.lowering.rules import EXACT, RULES, Rule, functions_used, holds_for, shrinks

PAIRS = 400  # elements: enough for all pairs of special values


def _answer(graph: Graph, arrays: dict[str, Array]) -> Array:
    with np.errstate(all="ignore"):
        return interpret_graph(graph, arrays)["y"]


def _domain(rule: Rule) -> list[DType]:
    return [dtype for dtype in ALL if holds_for(rule, dtype)]


def _needs_numbers(rule: Rule) -> bool:
    """Whether the pattern's operators take no bools."""
    return any(op in rule.text for op in ("max(", "min(", "reduce_"))


CASES = [
    pytest.param(rule, dtype, id=f"{rule.text}-{dtype}")
    for rule in RULES
    for dtype in _domain(rule)
    if not (dtype.is_bool and rule.on == "any" and _needs_numbers(rule))
    and not (rule.tag != EXACT and dtype.bits == 16)  # a tolerance of 16 bits tells nothing
]


def _captures(term: Term) -> list[str]:
    if isinstance(term, Capture):
        return [term.name]
    return [n for a in term.arguments for n in _captures(a)] if isinstance(term, Call) else []


def _numbers(term: Term) -> list[str]:
    if isinstance(term, Number) and isinstance(term.value, Name):
        return [term.value.name]
    return [n for a in term.arguments for n in _numbers(a)] if isinstance(term, Call) else []


def _attributes(term: Term) -> list[str]:
    if not isinstance(term, Call):
        return []
    inner = [n for a in term.arguments for n in _attributes(a)]
    return inner + [f.name for _, f in term.attributes if isinstance(f, Name)]


class _Completing(GraphBuilder):
    """Adds the attributes that a pattern leaves out."""

    def __init__(self, extra: dict[str, Any]) -> None:
        super().__init__("sample")
        self.extra = extra

    def op(self, name: str, operands: Any = (), **attributes: Any) -> Value:
        extra = self.extra if name in ("pad", "concat") else {}
        return super().op(name, operands, **{**extra, **attributes})


def _sample(rule: Rule, dtype: DType) -> Graph:
    """The rule's pattern as a graph of its own."""
    pattern, _ = rule.sides
    sample = dict(rule.sample)
    builder = _Completing(sample.get("attributes", {}))
    bound: dict[str, Any] = {}
    for name in dict.fromkeys(_captures(pattern)):
        own = BOOL if name == "condition" else dtype
        shape = sample.get(name, (8,) if _attributes(pattern) else (PAIRS,))
        bound[f"?{name}"] = builder.input(name, TensorType(own, shape))
    for name in _numbers(pattern):
        bound[name] = dtype.plain(sample.get(name, 1))
    for name in _attributes(pattern):
        bound[name] = sample.get(name, dtype)
    if "?x" in bound and "d" not in sample:
        bound["d"] = dtype
    if rule.conditions and "holds_all" in rule.text + "".join(rule.where):
        bound["d"] = dtype
    shape = bound["?x"].type.shape if "?x" in bound else (8,)
    result = build(pattern, bound, builder, TensorType(dtype, shape), FUNCTIONS)
    return builder.finish([("y", result)])


def _special(dtype: DType) -> list[Any]:
    if dtype.is_bool:
        return [False, True]
    if dtype.is_int:
        low, high = int(dtype.lowest), int(dtype.highest)
        return [low, high, low + 1, high - 1, 0, 1, 2, 3, 7, high // 2]
    tiny = {"f64": 5e-324, "f32": 1e-45, "f16": 6e-8, "bf16": 9.2e-41}[dtype.name]
    huge = {"f64": 1.7e308, "f32": 3e38, "f16": 65504.0, "bf16": 3e38}[dtype.name]
    numbers = [0.0, 1.0, 1.5, 2.0, 3.14, 1e-3, tiny, huge, np.inf]
    return [np.nan, *numbers, *(-n for n in numbers)]


def _inputs(graph: Graph, rule: Rule) -> dict[str, Array]:
    """Special values in all pairs for EXACT rules, ordinary positive ones for REAL."""
    rng = np.random.default_rng(0)
    arrays = {}
    for position, value in enumerate(graph.inputs):
        pairs = list(itertools.product(_special(value.type.dtype), repeat=2))
        shape = tuple(int(d) for d in value.type.shape if isinstance(d, int))
        count = int(np.prod(shape))
        dtype = value.type.dtype
        if rule.tag != EXACT:
            flat = rng.uniform(0.5, 2.0, count)
        elif dtype.is_bool:
            flat = rng.integers(0, 2, count)
        elif position < 2 and len(shape) == 1 and "contract" not in rule.text:
            chosen = rng.permutation(len(pairs))
            flat = np.array([pairs[chosen[i % len(pairs)]][position] for i in range(count)], object)
        else:
            flat = rng.integers(0, 5, count)
        arrays[value.name] = np.asarray(flat).astype(dtype.numpy).reshape(shape)
    return arrays


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.text)
def test_every_rule_shrinks_and_names_known_functions(rule: Rule) -> None:
    assert shrinks(rule)
    assert functions_used(rule) <= FUNCTIONS.keys()


@pytest.mark.parametrize(("rule", "dtype"), CASES)
def test_every_rule_is_true(rule: Rule, dtype: DType) -> None:
    before = _sample(rule, dtype)

    def only_this(op: Any, editor: Editor) -> list[Value] | None:
        value = apply_rule(rule, op, editor) if op.name == rule.sides[0].op else None
        return None if value is None else [value]

    after = remove_dead(rewrite(before, only_this))
    assert after != before, "the rule does not apply to its own sample"
    arrays = _inputs(before, rule)
    expected = _answer(before, arrays)
    actual = _answer(after, arrays)
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if rule.tag == EXACT and "pow(" in rule.text:
        _same_within_two_ulp(actual, expected)
    elif rule.tag == EXACT:
        _same_bits(actual, expected)
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def _same_bits(actual: Array, expected: Array) -> None:
    actual, expected = actual.reshape(-1), expected.reshape(-1)
    both_nan = (actual != actual) & (expected != expected)
    bits, wanted = (
        np.ascontiguousarray(a).view(np.uint8).reshape(a.size, a.itemsize)
        for a in (actual, expected)
    )
    equal = both_nan | (bits == wanted).all(axis=-1)
    assert equal.all(), f"{actual[~equal]} is not {expected[~equal]}"


def _same_within_two_ulp(actual: Array, expected: Array) -> None:
    """For operators whose rounding is not defined to the bit; their special values are."""
    finite = np.isfinite(expected) & (expected != 0) & (actual != 0) & np.isfinite(actual)
    _same_bits(actual[~finite], expected[~finite])
    with np.errstate(over="ignore"):
        gap = np.abs(actual[finite] - expected[finite])
        assert (gap <= 2 * np.spacing(np.abs(expected[finite]))).all()


def test_a_wrong_rule_is_caught() -> None:
    wrong = Rule(EXACT, "add(?x, 0.0) -> ?x", "float")
    with pytest.raises(AssertionError):
        test_every_rule_is_true(wrong, ALL[1])
