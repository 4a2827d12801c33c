"""The verifier refuses what is not a graph; type rules name the operands at fault."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from stepwell.ir.diagnostics import UserError, VerifyError
from stepwell.ir.dtypes import BOOL, F32, F64, I32, I64, DType
from stepwell.ir.graph import (
    Graph,
    GraphBuilder,
    TypeRuleError,
    Value,
    parse_graph,
    verify_graph,
)
from stepwell.ir.graph.core import Constraint
from stepwell.ir.graph.registry import lookup
from stepwell.ir.size import Dim, floordiv, symbol
from stepwell.ir.types import TensorType

N, M = symbol("N"), symbol("M")


def graph() -> Graph:
    b = GraphBuilder("f", ("N",))
    x = b.input("x", TensorType(F32, (N, 4)))
    y = b.op("exp", [x], hint="y")
    return b.finish([("y", y)])


def test_a_good_graph_passes() -> None:
    verify_graph(graph())


def test_faults_are_shown_with_their_line() -> None:
    good = graph()
    (op,) = good.ops
    other = Value("y", TensorType(F32, (N, 5)))
    unknown = Value("z", TensorType(F32, (N, 4)))
    other_x = Value("x", TensorType(F32, (N, 5)))
    twice = replace(op, results=(Value("x", op.result.type),))
    cases = [
        (replace(good, ops=(replace(op, results=(other,)),)), "exp gives f32[N, 4], not f32[N, 5]"),
        (replace(good, ops=(replace(op, operands=(unknown,)),)), "%z is used before it is defined"),
        (replace(good, ops=(twice,)), "%x is defined twice"),
        (replace(good, results=(("y", unknown),)), "%z is not defined"),
        (replace(good, sizes=()), "the size `N` is not declared"),
        (replace(good, sizes=("N", "N")), "a size is declared twice"),
        (replace(good, inputs=good.inputs * 2), "%x is defined twice"),
        (replace(good, ops=(replace(op, operands=(other_x,)),)), "%x is defined as f32[N, 4]"),
        (replace(good, constraints=(Constraint(N, "~", 2, ""),)), "`~` is not a relation"),
        (replace(good, ops=(replace(op, attributes={"a": 1}),)), "exp has no attribute `a`"),
    ]
    for bad, message in cases:
        with pytest.raises(VerifyError) as caught:
            verify_graph(bad)
        assert message in str(caught.value)
        assert "  | " in str(caught.value)


def test_names_of_a_formula_are_its_own() -> None:
    graph = """graph @f[N](%x: f32[N]) {{
      %y = index(%x) {{formula = {}}} : f32[N]
      return y = %y
    }}"""
    for formula, message in (
        ("[N: N] -> x0[N]", "the axis `N` hides the size of its name"),
        ("[i: N] -> sum[i: N] x0[i]", "the axis `i` hides another of its name"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            parse_graph(graph.format(formula))


def t(*shape: Dim, dtype: DType = F32) -> TensorType:
    return TensorType(dtype, shape)


@pytest.mark.parametrize(
    ("name", "types", "attributes", "message", "operands"),
    [
        ("add", [t(3), t(4)], {}, "shapes differ, [3] and [4]", (0, 1)),
        ("add", [t(3), t(3, dtype=F64)], {}, "element types differ, f32 and f64", (0, 1)),
        ("add", [t(3, dtype=BOOL)] * 2, {}, "takes numbers, not bool", (0,)),
        ("div", [t(3, dtype=I32)] * 2, {}, "takes floats, not i32", (0,)),
        ("exp", [t(3, dtype=I64)], {}, "takes floats, not i64", (0,)),
        ("philox", [t(3, dtype=I64)] * 2 + [t(3)], {"word": 0}, "takes i64, not f32", (2,)),
        ("philox", [t(3, dtype=I64)] * 3, {"word": 4}, "`word` is 0, 1, 2 or 3, not 4", ()),
        ("select", [t(3), t(3), t(3)], {}, "takes a bool as its condition, not f32", (0,)),
        (
            "contract", [t(N, 784), t(512, 256)], {"spec": "ik,kj->ij"},
            "inner dimensions differ, 784 and 512", (0, 1),
        ),
        ("contract", [t(3), t(3)], {"spec": "ii,i->i"}, "a letter occurs twice", ()),
        ("contract", [t(3), t(3)], {"spec": "i,i->j"}, "is in no operand", ()),
        ("contract", [t(3), t(3)], {"spec": "1"}, "is no specification", ()),
        ("reshape", [t(2, 3)], {"shape": (7,)}, "has 6 elements, [7] has 7", (0,)),
        ("broadcast", [t(3)], {"shape": (4,), "axes": (0,)}, "3 does not broadcast to 4", (0,)),
        ("transpose", [t(2, 3)], {"permutation": (0, 0)}, "an axis is named twice", (0,)),
        (
            "slice", [t(5)], {"start": (0,), "stop": (6,), "step": (1,)},
            "the slice ends at 6, beyond 5", (0,),
        ),
        (
            "slice", [t(N)], {"start": (0,), "stop": (N + 1,), "step": (1,)},
            "the slice ends at N + 1, beyond N", (0,),
        ),
        ("concat", [t(2, 3), t(4, 3)], {"axis": 1}, "differ beside axis 1", (0, 1)),
        ("gather", [t(4), t(2)], {"axis": 0}, "takes integers as indices, not f32", (1,)),
        (
            "conv", [t(1, 3, 8), t(4, 2, 3)],
            {"stride": (1,), "padding_low": (0,), "padding_high": (0,), "dilation": (1,),
             "groups": 1},
            "x has 3 channels in 1 group(s), w takes 2 per group", (0, 1),
        ),
        (
            "window_max", [t(4)],
            {"window": (6,), "stride": (1,), "padding_low": (0,), "padding_high": (1,),
             "dilation": (1,)},
            "a window of 6 with dilation 1 does not fit 5 positions", (0,),
        ),
        ("reduce_any", [t(4)], {"axes": (0,)}, "takes bools, not f32", (0,)),
    ],
)  # fmt: skip
def test_type_rules_refuse(
    name: str, types: list[TensorType], attributes: dict[str, object], message: str,
    operands: tuple[int, ...],
) -> None:  # fmt: skip
    with pytest.raises(TypeRuleError) as caught:
        lookup(name).infer(types, attributes)
    assert message in caught.value.message
    assert caught.value.operands == operands


def test_a_reshape_with_a_quotient_is_left_to_a_constraint() -> None:
    shape = (N, 4, floordiv(M, 4))
    assert lookup("reshape").infer([t(N, M)], {"shape": shape}) == (t(*shape),)
