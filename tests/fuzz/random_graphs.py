"""Random graphs for Hypothesis: every kind of operator, small sizes, one of them symbolic.

`random_graph` draws one with inputs x (f32[N, 6]), v (f32[6]), r (f32[N]), k (i32[N]) and a weight,
and up to a few dozen ops; `arrays_for` makes inputs that keep values tame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from stepwell.ir.dtypes import BOOL, F32, F64, I32, I64
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import Array, Graph, Value
from stepwell.ir.scalar import (
    Axis,
    Binary,
    Cast,
    Const,
    Expr,
    Formula,
    Load,
    Reduce,
    Unary,
    Var,
    index,
)
from stepwell.ir.size import evaluate, symbol
from stepwell.ir.types import TensorType

N = symbol("N")
TAME = ("neg", "abs", "tanh", "sigmoid", "sin", "cos", "erf", "floor", "sign")
STEP = Callable[[st.DataObject, GraphBuilder, list[Value]], Value | None]


def _pick(
    data: st.DataObject, values: list[Value], wanted: Callable[[Value], bool]
) -> Value | None:
    fitting = [value for value in values if wanted(value)]
    return data.draw(st.sampled_from(fitting)) if fitting else None


def _floats(value: Value) -> bool:
    return value.type.dtype == F32


def _ranked(value: Value) -> bool:
    return _floats(value) and 1 <= value.type.rank <= 4


def _splat(b: GraphBuilder, number: float, like: Value) -> Value:
    return b.op("constant", value=number, dtype=like.type.dtype, shape=like.type.shape)


def _unary(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, _floats)
    return None if x is None else b.op(data.draw(st.sampled_from(TAME)), [x])


def _binary(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, lambda v: _floats(v) or v.type.dtype == I32)
    if x is None:
        return None
    y = _pick(data, values, lambda v: v.type == x.type)
    assert y is not None
    op = data.draw(st.sampled_from(("add", "sub", "mul", "max", "min")))
    return b.op(op, data.draw(st.permutations([x, y])))


def _with_constant(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, _floats)
    if x is None:
        return None
    op = data.draw(st.sampled_from(("add", "sub", "mul", "div", "max", "pow")))
    number = data.draw(st.sampled_from((0.0, -0.0, 1.0, 2.0, -1.0, 0.5, 3.0)))
    if op in ("div", "pow"):
        number = 2.0
    return b.op(op, [x, _splat(b, number, x)])


def _choice(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, _floats)
    if x is None:
        return None
    y = _pick(data, values, lambda v: v.type == x.type)
    assert y is not None
    condition = b.op(data.draw(st.sampled_from(("lt", "eq", "ge"))), [x, y])
    if data.draw(st.booleans()):
        condition = b.op("not", [condition])
    return b.op("select", [condition, y, x])


def _broadcast(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, lambda v: _floats(v) and v.type.rank <= 2)
    if x is None:
        return None
    at = data.draw(st.integers(0, x.type.rank))
    extent = data.draw(st.sampled_from((N, 2, 1)))
    shape = (*x.type.shape[:at], extent, *x.type.shape[at:])
    axes = tuple(i for i in range(len(shape)) if i != at)
    return b.op("broadcast", [x], shape=shape, axes=axes)


def _transpose(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, _ranked)
    if x is None:
        return None
    order = data.draw(st.permutations(range(x.type.rank)))
    return b.op("transpose", [x], permutation=tuple(order))


def _reshape(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, _ranked)
    if x is None:
        return None
    shape = x.type.shape
    options = [(*shape, 1), (1, *shape), (x.type.elements,)]
    if shape[-1] == 6:
        options.append((*shape[:-1], 2, 3))
    return b.op("reshape", [x], shape=data.draw(st.sampled_from(options)))


def _slice(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, lambda v: _ranked(v) and v.type.shape[-1] in (3, 6))
    if x is None:
        return None
    extent = x.type.shape[-1]
    assert isinstance(extent, int)
    start = data.draw(st.integers(0, extent - 1))
    stop = data.draw(st.integers(start, extent))
    step = data.draw(st.integers(1, 3))
    lead = x.type.shape[:-1]
    zero, one = (0,) * len(lead), (1,) * len(lead)
    return b.op("slice", [x], start=(*zero, start), stop=(*lead, stop), step=(*one, step))


def _pad(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, lambda v: _ranked(v) and v.type.rank <= 2)
    if x is None:
        return None
    low, high = (tuple(data.draw(st.integers(0, 2)) for _ in x.type.shape) for _ in ("low", "high"))
    return b.op("pad", [x], low=low, high=high, value=data.draw(st.sampled_from((0.0, 1.5))))


def _concat(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    """Of what fits beside a value along an axis: others, itself, or nothing."""
    x = _pick(data, values, lambda v: _ranked(v) and v.type.rank <= 2)
    if x is None:
        return None
    axis = data.draw(st.integers(0, x.type.rank - 1))
    parts = [x]
    for _ in range(data.draw(st.integers(0, 2))):
        y = _pick(data, values, lambda v: _fits(v, x, axis))
        assert y is not None
        parts.append(y)
    return b.op("concat", parts, axis=axis)


def _fits(value: Value, other: Value, axis: int) -> bool:
    ours, theirs = (v.type.shape[:axis] + v.type.shape[axis + 1 :] for v in (value, other))
    same = value.type.rank == other.type.rank and value.type.dtype == other.type.dtype
    return same and ours == theirs


def _reverse(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, _ranked)
    return None if x is None else b.op("reverse", [x], axes=(x.type.rank - 1,))


def _reduce(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, _ranked)
    if x is None:
        return None
    kind = data.draw(st.sampled_from(("sum", "max", "min")))
    axes = data.draw(st.sets(st.integers(0, x.type.rank - 1), min_size=0, max_size=2))
    return b.op(f"reduce_{kind}", [x], axes=tuple(sorted(axes)))


def _contract(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, lambda v: _floats(v) and v.type.rank == 2)
    if x is None:
        return None
    y = _pick(data, values, lambda v: _floats(v) and v.type.rank == 2
              and x.type.shape[1] in v.type.shape)  # fmt: skip
    if y is None:
        return None
    spec = "ik,kj->ij" if y.type.shape[0] == x.type.shape[1] else "ik,jk->ij"
    return b.op("contract", [x, y], spec=spec)


def _arg(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, lambda v: _ranked(v) and v.type.shape[-1] in (2, 3, 6))
    if x is None:
        return None
    at = b.op("argmax", [x], axis=x.type.rank - 1)
    return b.op("cast", [at], dtype=F32)


def _round_trip(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, _floats)
    if x is None:
        return None
    return b.op("cast", [b.op("cast", [x], dtype=F64)], dtype=F32)


def _gather(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, lambda v: _ranked(v) and v.type.shape[0] == 6)
    ids = _pick(data, values, lambda v: v.name == "k")
    return None if x is None or ids is None else b.op("gather", [x, ids], axis=0)


def _softmax(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, lambda v: _ranked(v) and v.type.rank >= 2)
    if x is None:
        return None
    axis = data.draw(st.integers(0, x.type.rank - 1))
    kept = tuple(i for i in range(x.type.rank) if i != axis)

    def spread(value: Value) -> Value:
        return b.op("broadcast", [value], shape=x.type.shape, axes=kept)

    e = b.op("exp", [b.op("sub", [x, spread(b.op("reduce_max", [x], axes=(axis,)))])])
    return b.op("div", [e, spread(b.op("reduce_sum", [e], axes=(axis,)))])


def _dropout(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    """x where a random word of each element is small, else 0."""
    x = _pick(data, values, _floats)
    if x is None:
        return None
    shape = x.type.shape
    flat = b.op("iota", dtype=I64, shape=(x.type.elements,), axis=0)
    low = b.op("reshape", [flat], shape=shape)
    place, key = (
        b.op("constant", value=data.draw(st.integers(0, 3)), dtype=I64, shape=()) for _ in "ab"
    )
    others = [b.op("broadcast", [scalar], shape=shape, axes=()) for scalar in (place, key)]
    bits = b.op("philox", [low, *others], word=data.draw(st.integers(0, 3)))
    limit = b.op(
        "constant", value=data.draw(st.sampled_from((0, -(2**30)))), dtype=I32, shape=shape
    )
    return b.op("select", [b.op("le", [bits, limit]), x, _splat(b, 0.0, x)])


def _layer_norm(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    x = _pick(data, values, lambda v: _ranked(v) and v.type.shape[-1] == 6)
    if x is None:
        return None
    axis = x.type.rank - 1

    def mean(value: Value) -> Value:
        total = b.op("reduce_sum", [value], axes=(axis,))
        return b.op("div", [total, _splat(b, 6.0, total)])

    def spread(value: Value) -> Value:
        return b.op("broadcast", [value], shape=x.type.shape, axes=tuple(range(axis)))

    d = b.op("sub", [x, spread(mean(x))])
    v = mean(b.op("mul", [d, d]))
    return b.op("mul", [d, spread(b.op("rsqrt", [b.op("add", [v, _splat(b, 1e-2, v)])]))])


def _formula(data: st.DataObject, b: GraphBuilder, values: list[Value]) -> Value | None:
    """An index formula over a matrix: reductions inside reductions, guards, numbers as indices."""
    x = _pick(data, values, lambda v: _floats(v) and v.type.rank == 2)
    if x is None:
        return None
    rows, columns = (Axis(name, dim) for name, dim in zip("ij", x.type.shape, strict=True))
    i, j, k = Var("i"), Var("j"), Var("k")
    k_axis, others = Axis("k", x.type.shape[1]), Axis("m", x.type.shape[0])

    def at(*indices: Expr) -> Expr:
        return Load("x0", indices, F32)

    def total(body: Expr, guard: Expr | None = None) -> Reduce:
        return Reduce("sum", (k_axis,), body, guard)

    earlier = Binary("le", k, j)
    top = Reduce("max", (k_axis,), at(i, k))
    inner = Reduce("sum", (Axis("l", x.type.shape[1]),), Binary("mul", at(i, k), at(i, Var("l"))))
    formulas = [
        Formula((rows, columns), total(at(i, k), earlier)),
        Formula((rows, columns), Binary("sub", at(i, j), top)),
        Formula((rows,), Unary("tanh", total(Unary("sin", at(i, k))))),
        Formula((rows,), total(Unary("tanh", inner))),
        Formula((rows, columns), Binary("add", at(i, j), Cast(j, F32))),
        Formula((), Reduce("sum", (rows, columns), at(i, j))),
        Formula((rows, others), total(Binary("mul", at(i, k), at(Var("m"), k)))),
        Formula((rows, columns), Binary("mul", at(i, j), total(Const(1.0, F32)))),
        Formula(
            (rows, columns),
            total(
                Reduce("sum", (Axis("l", 2),), at(i, Binary("sub", k, Var("l")))),
                Binary("ge", k, index(1)),
            ),
        ),
    ]
    return b.op("index", [x], formula=data.draw(st.sampled_from(formulas)))


STEPS: tuple[STEP, ...] = (
    *(_unary, _binary, _binary, _binary, _with_constant, _choice, _broadcast, _broadcast),
    *(
        _transpose,
        _reshape,
        _slice,
        _pad,
        _concat,
        _concat,
        _concat,
        _reverse,
        _reduce,
        _reduce,
        _contract,
    ),
    *(_arg, _round_trip, _gather, _softmax, _layer_norm, _formula, _dropout),
)


def random_graph(data: st.DataObject, most: int = 14) -> Graph:
    """Draw a graph."""
    b = GraphBuilder("random", ("N",))
    values = [
        b.input("x", TensorType(F32, (N, 6))),
        b.input("v", TensorType(F32, (6,))),
        b.input("r", TensorType(F32, (N,))),
        b.input("k", TensorType(I32, (N,))),
        b.input("s", TensorType(F32, ())),
    ]
    values.append(b.parameter("fc.weight", TensorType(F32, (6, 24)), "glorot_uniform"))
    for _ in range(data.draw(st.integers(1, most))):
        value = data.draw(st.sampled_from(STEPS))(data, b, values)
        if value is not None and value.type.rank <= 4:
            values.append(value)
    chosen = data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=2))
    return b.finish([(f"y{i}", value) for i, value in enumerate([*chosen, values[-1]])])


def arrays_for(graph: Graph, size: int, seed: int = 0) -> dict[str, Array]:
    """Inputs and parameters by name; integers are subscripts of an axis of 6."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for value in (*graph.inputs, *(parameter.value for parameter in graph.parameters)):
        shape = tuple(evaluate(dim, {"N": size}) for dim in value.type.shape)
        if value.type.dtype in (I32, I64):
            found[value.name] = rng.integers(0, 6, shape).astype(value.type.dtype.numpy)
        elif value.type.dtype == BOOL:
            found[value.name] = rng.integers(0, 2, shape).astype(bool)
        else:
            found[value.name] = rng.standard_normal(shape).astype(value.type.dtype.numpy)
    return found
