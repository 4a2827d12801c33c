"""Random graphs of all operators and element types, with inputs and bounds on the error.

In: Hypothesis. Out: a `Case`: a graph of a few ops, arrays for its inputs, and for each result how
far off native code may be. Sizes are 0, 1, primes and those around the vector width; some are
symbols. Each op is evaluated as it is drawn: one whose result would tell nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from rounding import Known, Unfit, known

from stepwell.ir import dtypes
from stepwell.ir.dtypes import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, DType
from stepwell.ir.graph import GraphBuilder, TypeRuleError
from stepwell.ir.graph.core import Array, Attribute, Graph, Value
from stepwell.ir.parse import Scope, parse_formula
from stepwell.ir.size import Dim, evaluate, symbol
from stepwell.ir.types import TensorType

EXTENTS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33)
SMALL = (1, 2, 3, 4, 5, 7, 8)
DTYPES = (*(F32,) * 8, F64, F64, F16, BF16, I64, I64, I32, I32, I16, I8, U8, BOOL)
MOST = 6000  # elements of one value
N, M = symbol("N"), symbol("M")


@dataclass(frozen=True)
class Given:
    """An input or parameter, and what its elements are."""

    value: Value
    style: str  # "quarters", "smooth", "positive", or "below"
    below: Dim = 0

    def array(self, sizes: Mapping[str, int], rng: np.random.Generator) -> Array:
        shape = tuple(evaluate(dim, sizes) for dim in self.value.type.shape)
        dtype = self.value.type.dtype
        match self.style:
            case "below":
                return rng.integers(0, max(evaluate(self.below, sizes), 1), shape).astype(
                    dtype.numpy
                )
            case "smooth" if dtype.is_float:
                return rng.uniform(-2, 2, shape).astype(dtype.numpy)
        low = 0 if dtype in (U8, BOOL) else -8
        whole = rng.integers(low, 2 if dtype is BOOL else 9, shape)
        return (whole / 4 if dtype.is_float else whole).astype(dtype.numpy)


@dataclass
class Case:
    graph: Graph
    given: list[Given]
    sizes: dict[str, int]
    seed: int

    def arrays(self, sizes: Mapping[str, int]) -> dict[str, Array]:
        rng = np.random.default_rng(self.seed)
        return {item.value.name: item.array(sizes, rng) for item in self.given}

    def errors(self, sizes: Mapping[str, int], arrays: Mapping[str, Array]) -> dict[str, float]:
        """A bound on the error of each result. Raises Unfit."""
        values = {item.value: Known(arrays[item.value.name]) for item in self.given}
        for op in self.graph.ops:
            values[op.result] = known(op, values, sizes)
        return {name: values[value].error for name, value in self.graph.results}


@dataclass
class Drawer:
    """Draws one graph."""

    draw: Callable[[st.SearchStrategy], object]
    sizes: dict[str, int]
    rng: np.random.Generator
    b: GraphBuilder = field(default_factory=lambda: GraphBuilder("random", ("N", "M")))
    given: list[Given] = field(default_factory=list)
    values: dict[Value, Known] = field(default_factory=dict)
    pool: list[Value] = field(default_factory=list)

    # -- choices

    def pick(self, items):  # type: ignore[no-untyped-def]
        return self.draw(st.sampled_from(tuple(items)))

    def maybe(self, percent: int) -> bool:
        return self.draw(st.integers(0, 99)) < percent  # type: ignore[operator]

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))  # type: ignore[return-value]

    def extent(self, small: bool = False) -> Dim:
        if self.maybe(30):
            return self.pick((N, N, M, N + 1, 2 * N))
        return self.pick(SMALL if small else EXTENTS)

    def shape(self, low: int = 0, high: int = 3) -> tuple[Dim, ...]:
        rank = self.number(low, high)
        return tuple(self.extent(small=rank > 1 and i > 0 and rank > 2) for i in range(rank))

    def now(self, dim: Dim) -> int:
        return evaluate(dim, self.sizes)

    def elements(self, shape: Sequence[Dim]) -> int:
        return int(np.prod([self.now(d) for d in shape], dtype=np.int64))

    # -- values

    def fresh(
        self, dtype: DType, shape: Sequence[Dim], style: str | None = None, below: Dim = 0
    ) -> Value:
        """A new input or parameter."""
        if self.elements(shape) > MOST:
            raise Unfit
        type = TensorType(dtype, tuple(shape))
        if style is None and self.maybe(25) and all(isinstance(d, int) for d in shape):
            value = self.b.parameter(f"p{len(self.given)}", type, "zeros")
        else:
            value = self.b.input(f"x{len(self.given)}", type)
        self.given.append(Given(value, style or self.pick(("quarters", "smooth")), below))
        self.values[value] = Known(self.given[-1].array(self.sizes, self.rng))
        return value

    def op(self, name: str, operands: Sequence[Value], **attributes: Attribute) -> Value:
        """One more op, if its result tells something."""
        for operand in operands:
            if not np.isfinite(self.values[operand].largest):
                raise Unfit
        value = self.b.op(name, operands, **attributes)
        try:
            if value.type.rank > 5 or self.elements(value.type.shape) > MOST:
                raise Unfit
            self.values[value] = known(self.b.ops[-1], self.values, self.sizes)
        except Unfit:
            self.b.ops.pop()
            raise
        return value

    def any(self, wanted: Callable[[Value], bool] = lambda value: True) -> Value:
        """A value that there is; more often a late one."""
        fitting = [value for value in self.pool if wanted(value)]
        if not fitting or self.maybe(8):
            value = self.fresh(self.pick(DTYPES), self.shape())
            self.pool.append(value)
            fitting = [value] if wanted(value) else fitting
        if not fitting:
            raise Unfit
        return self.pick([*fitting, *fitting[-2:]])

    def like(self, x: Value) -> Value:
        """Another value of the same type: an old one, a new one, a number, a row repeated."""
        same = [value for value in self.pool if value.type == x.type]
        match self.pick(("same", "same", "fresh", "splat", "row")):
            case "same" if same:
                return self.pick(same)
            case "splat":
                return self.splat(x, self.pick((1.0, 2.0, 0.5, -1.0, 3.0)))
            case "row" if x.type.rank:
                axis = self.number(0, x.type.rank - 1)
                row = self.fresh(x.type.dtype, (x.type.shape[axis],))
                return self.op("broadcast", [row], shape=x.type.shape, axes=(axis,))
        return self.fresh(x.type.dtype, x.type.shape)

    def splat(self, x: Value, number: float) -> Value:
        value = x.type.dtype.plain(number) if x.type.dtype is not U8 else abs(int(number))
        return self.op("constant", [], value=value, dtype=x.type.dtype, shape=x.type.shape)

    def spread(self, x: Value, shape: Sequence[Dim], gone: Sequence[int]) -> Value:
        kept = tuple(i for i in range(len(shape)) if i not in gone)
        return self.op("broadcast", [x], shape=tuple(shape), axes=kept)


# ---- Steps: each draws operands and attributes, and gives a value ------------------------------


def _numbers(value: Value) -> bool:
    return not value.type.dtype.is_bool


def _floats(value: Value) -> bool:
    return value.type.dtype.is_float


def _unary(d: Drawer) -> Value:
    x = d.any()
    dtype = x.type.dtype
    if not dtype.is_float:
        return d.op("not" if dtype.is_bool else d.pick(("neg", "abs", "sign", "not")), [x])
    name = d.pick(
        ("neg", "abs", "sign", "exp", "exp2", "expm1", "log", "log2", "log1p", "sqrt", "rsqrt",
         "sin", "cos", "tanh", "sigmoid", "erf", "floor", "ceil", "round", "trunc", "is_nan",
         "is_finite")
    )  # fmt: skip
    if name in ("log", "log2", "sqrt", "rsqrt", "log1p"):
        x = d.op("add", [d.op("abs", [x]), d.splat(x, 0.5)])
    if name.startswith("exp") and d.values[x].largest > 4:
        x = d.op("tanh", [x])
    return d.op(name, [x])


def _binary(d: Drawer) -> Value:
    x = d.any()
    dtype = x.type.dtype
    names = ["min", "max", "eq", "ne", "lt", "le", "gt", "ge"]
    if dtype.is_bool:
        names = ["and", "or", "xor", "eq", "ne", "lt", "le"]
    elif dtype.is_int:
        names += ["add", "sub", "mul", "floordiv", "mod", "and", "or", "xor"]
    else:
        names += ["add", "sub", "mul"] * 3 + ["div", "pow", "floordiv", "mod"]
    name = d.pick(names)
    if name == "pow":
        base = d.op("add", [d.op("abs", [x]), d.splat(x, 0.5)])
        return d.op("pow", [base, d.splat(x, d.pick((2.0, 0.5, -1.0, 3.0)))])
    y = d.like(x)
    if name == "div":
        y = d.op("add", [d.op("abs", [y]), d.splat(y, 1.0)])
    return d.op(name, [x, y] if d.maybe(70) or name == "div" else [y, x])


def _select(d: Drawer) -> Value:
    x = d.any()
    y = d.like(x)
    conditions = [v for v in d.pool if v.type == x.type.with_dtype(BOOL)]
    if conditions and d.maybe(50):
        condition = d.pick(conditions)
    else:
        condition = d.op(d.pick(("lt", "ge", "eq")), [x, y])
    return d.op("select", [condition, x, y])


def _cast(d: Drawer) -> Value:
    return d.op("cast", [d.any()], dtype=d.pick(dtypes.ALL))


def _made(d: Drawer) -> Value:
    dtype, shape = d.pick(DTYPES), d.shape(0, 3)
    match d.pick(("splat", "dense", "iota", "dim")):
        case "iota" if shape and not dtype.is_bool:
            return d.op("iota", [], dtype=dtype, shape=shape, axis=d.number(0, len(shape) - 1))
        case "dim":
            return d.op("dim", [], value=d.pick((N, N + 1, 2 * M, 3)))
        case "dense":
            static = tuple(d.pick(SMALL) for _ in range(d.number(0, 2)))
            array = Given(Value("", TensorType(dtype, static)), "quarters").array({}, d.rng)
            return d.op("constant", [], value=array, dtype=dtype, shape=static)
    number = dtype.plain(d.pick((0, 1, 2.5, -3))) if dtype is not U8 else 7
    return d.op("constant", [], value=number, dtype=dtype, shape=shape)


def _broadcast(d: Drawer) -> Value:
    x = d.any(lambda v: v.type.rank <= 3)
    shape, at = [*x.type.shape], d.number(0, x.type.rank)
    shape.insert(at, d.extent(small=True))
    axes = tuple(i for i in range(len(shape)) if i != at)
    for i in axes:
        if shape[i] == 1 and d.maybe(60):
            shape[i] = d.extent(small=True)
    return d.op("broadcast", [x], shape=tuple(shape), axes=axes)


def _reshape(d: Drawer) -> Value:
    x = d.any()
    shape = x.type.shape
    options: list[tuple[Dim, ...]] = [(*shape, 1), (1, *shape), (x.type.elements,)]
    for i in range(len(shape) - 1):
        options.append((*shape[:i], shape[i] * shape[i + 1], *shape[i + 2 :]))
    for i, dim in enumerate(shape):
        for part in (2, 3, 4):
            if isinstance(dim, int) and dim % part == 0:
                options.append((*shape[:i], dim // part, part, *shape[i + 1 :]))
    options += [tuple(s for s in shape if s != 1), tuple(reversed(shape))]
    return d.op("reshape", [x], shape=d.pick(options))


def _transpose(d: Drawer) -> Value:
    x = d.any(lambda v: v.type.rank >= 2)
    return d.op("transpose", [x], permutation=tuple(d.draw(st.permutations(range(x.type.rank)))))  # type: ignore[arg-type]


def _slice(d: Drawer) -> Value:
    x = d.any(lambda v: v.type.rank >= 1)
    start: list[Dim] = []
    stop: list[Dim] = []
    for dim in x.type.shape:
        if isinstance(dim, int):
            low = d.number(0, dim)
            start, stop = [*start, low], [*stop, d.number(low, dim)]
        else:
            start, stop = [*start, 0], [*stop, dim]
    steps = tuple(d.pick((1, 1, 2, 3)) for _ in start)
    return d.op("slice", [x], start=tuple(start), stop=tuple(stop), step=steps)


def _reverse(d: Drawer) -> Value:
    x = d.any(lambda v: v.type.rank >= 1)
    axes = tuple(i for i in range(x.type.rank) if d.maybe(50))
    return d.op("reverse", [x], axes=axes)


def _pad(d: Drawer) -> Value:
    x = d.any()
    low, high = (tuple(d.pick((0, 0, 1, 2, N)) for _ in x.type.shape) for _ in "lh")
    value = x.type.dtype.plain(d.pick((0, 0, 1, 2)))
    return d.op("pad", [x], low=low, high=high, value=value)


def _concat(d: Drawer) -> Value:
    x = d.any(lambda v: v.type.rank >= 1)
    axis = d.number(0, x.type.rank - 1)
    parts = [x]
    for _ in range(d.number(0, 2)):
        shape = [*x.type.shape]
        shape[axis] = d.extent(small=True)
        same = [v for v in d.pool if v.type == x.type]
        parts.append(d.pick(same) if same and d.maybe(50) else d.fresh(x.type.dtype, shape))
    return d.op("concat", parts, axis=axis)


def _gather(d: Drawer) -> Value:
    x = d.any(lambda v: v.type.rank >= 1)
    axis = d.number(0, x.type.rank - 1)
    shape = d.shape(0, 2)
    ids = d.fresh(d.pick((I64, I32, I16, U8)), shape, "below", x.type.shape[axis])
    return d.op("gather", [x, ids], axis=axis)


def _reduce(d: Drawer) -> Value:
    x = d.any()
    kinds = ("any", "all") if x.type.dtype.is_bool else ("sum", "sum", "max", "min", "prod")
    axes = tuple(i for i in range(x.type.rank) if d.maybe(50))
    return d.op(f"reduce_{d.pick(kinds)}", [x], axes=axes)


def _arg(d: Drawer) -> Value:
    x = d.any(lambda v: v.type.rank >= 1 and _numbers(v))
    return d.op(d.pick(("argmax", "argmin", "cumsum")), [x], axis=d.number(0, x.type.rank - 1))


def _contract(d: Drawer) -> Value:
    """Each axis of x is shared with y or not, and kept or summed."""
    x = d.any(lambda v: _numbers(v) and 1 <= v.type.rank <= 3)
    left = "abcd"[: x.type.rank]
    shared = [letter for letter in left if d.maybe(60)]
    own = "xyz"[: d.number(0, 2)]
    extents = dict(zip(left, x.type.shape, strict=True))
    extents |= {letter: d.extent(small=True) for letter in own}
    right = d.draw(st.permutations([*shared, *own]))
    fitting = [
        v for v in d.pool
        if v.type == TensorType(x.type.dtype, tuple(extents[c] for c in right))
    ]  # fmt: skip
    fresh = not fitting or d.maybe(60)
    y = d.fresh(x.type.dtype, [extents[c] for c in right]) if fresh else d.pick(fitting)
    kept = [c for c in [*left, *own] if d.maybe(25 if c in shared else 90)]
    output = "".join(d.draw(st.permutations(kept))) if d.maybe(20) else "".join(kept)
    return d.op("contract", [x, y], spec=f"{left},{''.join(right)}->{output}")


def _dense(d: Drawer) -> Value:
    x = d.any(lambda v: _floats(v) and v.type.rank == 2)
    units = d.extent(small=d.maybe(50))
    w = d.fresh(x.type.dtype, (x.type.shape[1], units))
    h = d.op("contract", [x, w], spec="ik,kj->ij")
    h = d.op("add", [h, d.spread(d.fresh(x.type.dtype, (units,)), h.type.shape, (0,))])
    return d.op("max", [h, d.splat(h, 0.0)]) if d.maybe(60) else h


def _geometry(d: Drawer, shape: Sequence[Dim], kernel: Sequence[int]) -> dict[str, Attribute]:
    stride = tuple(d.pick((1, 1, 2, 3)) for _ in kernel)
    dilation = tuple(d.pick((1, 1, 2)) for _ in kernel)
    low: list[int] = []
    high: list[int] = []
    for dim, k, step in zip(shape, kernel, dilation, strict=True):
        span = (k - 1) * step
        low.append(d.number(0, min(span, 2)))
        least = (
            max(0, span - low[-1]) if not isinstance(dim, int) else max(0, span + 1 - dim - low[-1])
        )
        high.append(least + d.number(0, 1) if span else 0)
    return {"stride": stride, "padding_low": tuple(low), "padding_high": tuple(high),
            "dilation": dilation}  # fmt: skip


def _conv(d: Drawer) -> Value:
    found = [
        v
        for v in d.pool
        if 3 <= v.type.rank <= 4 and _numbers(v) and isinstance(v.type.shape[1], int)
    ]
    if found and d.maybe(60):
        x = d.pick(found)
    else:
        spatial = [d.pick((3, 5, 8, 9, 17, N)) for _ in range(d.pick((1, 1, 2, 2, 3)))]
        dtype = d.pick((F32, F32, F32, F64, F16, I32))
        x = d.fresh(dtype, (d.pick((1, 2, N)), d.pick((1, 2, 3, 4, 8)), *spatial))
    channels, spatial = x.type.shape[1], x.type.shape[2:]
    assert isinstance(channels, int)
    groups = d.pick([g for g in (1, 1, 2, 4, channels) if g and channels % g == 0] or [1])
    out = groups * d.pick((1, 2, 3, 8))
    kernel = [d.pick((1, 2, 3)) for _ in spatial]
    w = d.fresh(x.type.dtype, (out, channels // groups, *kernel))
    return d.op("conv", [x, w], groups=groups, **_geometry(d, spatial, kernel))


def _window(d: Drawer) -> Value:
    x = d.any(lambda v: _numbers(v) and 1 <= v.type.rank <= 4)
    window = tuple(d.pick((1, 2, 3)) for _ in x.type.shape)
    return d.op(d.pick(("window_max", "window_sum")), [x], window=window,
                **_geometry(d, x.type.shape, window))  # fmt: skip


def _softmax(d: Drawer) -> Value:
    x = d.any(lambda v: _floats(v) and v.type.rank >= 1)
    axis = d.number(0, x.type.rank - 1)
    shape = x.type.shape
    top = d.spread(d.op("reduce_max", [x], axes=(axis,)), shape, (axis,))
    e = d.op("exp", [d.op("sub", [x, top])])
    return d.op("div", [e, d.spread(d.op("reduce_sum", [e], axes=(axis,)), shape, (axis,))])


def _norm(d: Drawer) -> Value:
    x = d.any(lambda v: v.type.dtype in (F32, F64) and v.type.rank >= 1)
    axis, shape = x.type.rank - 1, x.type.shape
    if not isinstance(shape[axis], int):
        raise Unfit
    count = float(max(shape[axis], 1))  # type: ignore[type-var]
    total = d.op("reduce_sum", [x], axes=(axis,))
    mean = d.op("div", [total, d.splat(total, count)])
    centred = d.op("sub", [x, d.spread(mean, shape, (axis,))])
    squares = d.op("reduce_sum", [d.op("mul", [centred, centred])], axes=(axis,))
    variance = d.op("add", [d.op("div", [squares, d.splat(squares, count)]), d.splat(squares, 0.5)])
    return d.op("mul", [centred, d.spread(d.op("rsqrt", [variance]), shape, (axis,))])


FORMULAS = (
    ("[i: {0}, j: {1}] -> sum[k: {1} where k <= j] x0[i, k]", 1),
    ("[i: {0}, j: {1}] -> x0[i, j - 1 | j >= 1]", 1),
    ("[j: {1}, i: {0}] -> x0[{0} - 1 - i, j]", 1),
    ("[i: {0}] -> sum[j: {1}] x0[i, j] * x1[i, j]", 2),
    ("[i: {0}, m: {0}] -> sum[j: {1}] x0[i, j] * x1[m, j]", 2),
    ("[] -> sum[i: {0}, j: {1}] x0[i, j]", 1),
    ("[i: {0}, j: 3] -> sum[p: 3 where i + p >= 1 and i + p <= {0}] x0[i + p - 1, j % {1}]", 1),
)


def _index(d: Drawer) -> Value:
    x = d.any(lambda v: v.type.rank == 2 and v.type.dtype in (F32, F64, I32, I64))
    text, count = d.pick(FORMULAS)
    if "%" in text and x.type.shape[1] == 0:
        raise Unfit
    operands = [x, d.like(x)][:count]
    scope = Scope({}, {f"x{i}": x.type.dtype for i in range(count)}, sizes_open=True)
    formula = parse_formula(text.format(*x.type.shape), scope)
    return d.op("index", operands, formula=formula)


STEPS: tuple[Callable[[Drawer], Value], ...] = (
    *(_unary, _unary, _unary, _binary, _binary, _binary, _binary, _select, _cast, _made),
    *(_broadcast, _broadcast, _reshape, _transpose, _slice, _reverse, _pad, _concat, _gather),
    *(_reduce, _reduce, _arg, _contract, _contract, _dense, _conv, _conv, _window, _softmax, _norm),
    _index,
)


@st.composite
def cases(draw, most: int = 12) -> Case:  # type: ignore[no-untyped-def]
    """A graph of 1 to `most` steps."""
    sizes = {"N": draw(st.sampled_from(EXTENTS)), "M": draw(st.sampled_from(SMALL))}
    seed = draw(st.integers(0, 99))
    d = Drawer(draw, sizes, np.random.default_rng(seed))
    for name in ("N", "M"):
        d.fresh(F32, (symbol(name),), "quarters")
    d.pool = [item.value for item in d.given]
    for _ in range(draw(st.integers(1, most))):
        before = len(d.b.ops)
        try:
            value = draw(st.sampled_from(STEPS))(d)
        except (Unfit, TypeRuleError):
            del d.b.ops[before:]
            continue
        d.pool.append(value)
    ends = draw(st.lists(st.sampled_from([*d.pool, *d.pool[-4:]]), min_size=0, max_size=3))
    graph = d.b.finish([(f"y{i}", value) for i, value in enumerate([*ends, d.pool[-1]])])
    return Case(graph, d.given, sizes, seed)
