"""Random index formulas, as text and as a tree of our own that evaluates by plain loops.

In: Hypothesis. Out: a `Program`: a model's source, its inputs, and `expected(sizes, arrays)`, which
knows nothing of the compiler: Python's numbers, one element at a time. Each value goes with a bound
on the rounding error that any order of evaluation can have (running error analysis, Higham,
Accuracy and Stability of Numerical Algorithms, section 3.3); what hangs on a rounding error, such
as a comparison of nearly equal numbers, is `Unsuitable`.

    model f(a: f32[N, 2*N + 3]) { [i] -> sum[k: 4 where k <= i] a[i, 2*i + k] * 2.0 }
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

FLOATS = ("f32", "f32", "f32", "f64", "f16")
INTS = ("i32", "i64", "i64", "u8")
NUMPY = {"f64": np.float64, "f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32}
NUMPY |= {"u8": np.uint8, "bool": np.bool_}
EPS = {"f64": 2.0**-53, "f32": 2.0**-24, "f16": 2.0**-11}
LARGEST = {"f64": 1e6, "f32": 1e4, "f16": 500.0}
Sizes = Mapping[str, int]
Arrays = Mapping[str, np.ndarray]
Value = tuple[float | int | bool, float]  # and a bound on its error


class Unsuitable(Exception):
    """The result hangs on rounding errors, or is not a number: nothing to compare."""


@dataclass(frozen=True)
class Lin:
    """A size: factor * name + constant; no name where the factor is 0."""

    constant: int
    name: str = ""
    factor: int = 0

    def __str__(self) -> str:
        if not self.factor:
            return str(self.constant)
        head = self.name if self.factor == 1 else f"{self.factor}*{self.name}"
        sign = "+" if self.constant > 0 else "-"
        return head if not self.constant else f"{head} {sign} {abs(self.constant)}"

    def at(self, sizes: Sizes) -> int:
        return self.constant + (self.factor * sizes[self.name] if self.factor else 0)

    def plus(self, number: int) -> Lin:
        return Lin(self.constant + number, self.name, self.factor)

    def times(self, number: int) -> Lin:
        return Lin(self.constant * number, self.name, self.factor * number)


@dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[Lin, ...]
    below: Lin | None = None  # a table of subscripts: values are in 0..below


@dataclass(frozen=True)
class Num:
    value: float | int
    dtype: str


@dataclass(frozen=True)
class Index:
    name: str
    dtype: str = "i64"


@dataclass(frozen=True)
class SizeOf:
    name: str
    dtype: str = "i64"


@dataclass(frozen=True)
class Elem:
    tensor: Tensor
    at: tuple[Node, ...]

    @property
    def dtype(self) -> str:
        return self.tensor.dtype


@dataclass(frozen=True)
class Call:
    """A function by name; `op` is an operator or a function of the language."""

    op: str
    args: tuple[Node, ...]
    dtype: str


@dataclass(frozen=True)
class Red:
    kind: str
    axes: tuple[tuple[str, Lin], ...]
    guard: Node | None
    body: Node
    dtype: str


Node = Num | Index | SizeOf | Elem | Call | Red

# ---- Evaluation ------------------------------------------------------------------------------


def _wrapped(value: int, dtype: str) -> int:
    bits = {"i64": 64, "i32": 32, "u8": 8}[dtype]
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype != "u8" and value >> (bits - 1) else value


def _rounded(value: float, error: float, dtype: str, ulps: float = 1.0) -> Value:
    """A result of float arithmetic: exact where it is representable and nothing was lost before."""
    if math.isnan(value) or LARGEST[dtype] < abs(value) < math.inf or (error and math.isinf(value)):
        raise Unsuitable
    if ulps == 1.0 and not error and float(NUMPY[dtype](value)) == value:
        return value, 0.0
    tiny = 2.0**-24 if dtype == "f16" else 2.0**-149  # half a subnormal's spacing and more
    return value, error + ulps * EPS[dtype] * abs(value) + tiny


# name → value, and how much an error of the argument can grow
_FUNCTIONS: dict[str, tuple[Callable[[float], float], Callable[[float, float], float]]] = {
    "tanh": (math.tanh, lambda x, e: e),
    "sigmoid": (lambda x: 1 / (1 + math.exp(-x)), lambda x, e: e),
    "sin": (math.sin, lambda x, e: e),
    "cos": (math.cos, lambda x, e: e),
    "erf": (math.erf, lambda x, e: 1.2 * e),
    "exp": (math.exp, lambda x, e: e * math.exp(x + e)),
    "sqrt": (math.sqrt, lambda x, e: e if x > 0.25 else _no_error(e)),
    "log": (math.log, lambda x, e: e / (x - e) if x > e else _no_error(1.0)),
}


def _no_error(error: float) -> float:
    if error:
        raise Unsuitable
    return 0.0


def _sure(difference: float, error: float) -> float:
    """A difference whose sign is beyond doubt."""
    if error and abs(difference) <= error:
        raise Unsuitable
    return difference


_COMPARE: dict[str, Callable[[float], bool]] = {
    "==": lambda d: d == 0,
    "!=": lambda d: d != 0,
    "<": lambda d: d < 0,
    "<=": lambda d: d <= 0,
    ">": lambda d: d > 0,
    ">=": lambda d: d >= 0,
}


def _compare(op: str, x: Value, y: Value) -> Value:
    if math.inf in (abs(x[0]), abs(y[0])):
        if x[0] == y[0]:
            return _COMPARE[op](0), 0.0
        return _COMPARE[op](1.0 if x[0] > y[0] else -1.0), 0.0
    return _COMPARE[op](_sure(x[0] - y[0], x[1] + y[1])), 0.0


def _arithmetic(op: str, x: Value, y: Value, dtype: str) -> Value:
    a, b = x[0], y[0]
    if op in ("max", "min"):
        return (max if op == "max" else min)(a, b), max(x[1], y[1])
    if dtype not in EPS:
        if op in ("//", "%"):
            value = 0 if b == 0 else a // b if op == "//" else a % b
        else:
            value = {"+": a + b, "-": a - b, "*": a * b}[op]
        return _wrapped(int(value), dtype), 0.0
    if math.isinf(a) or math.isinf(b):
        raise Unsuitable
    match op:
        case "+" | "-":
            return _rounded(a + b if op == "+" else a - b, x[1] + y[1], dtype)
        case "*":
            grown = abs(a) * y[1] + abs(b) * x[1] + x[1] * y[1]
            return _rounded(a * b, grown, dtype)
        case _:
            room = abs(b) - y[1]
            if room <= 0:
                raise Unsuitable
            return _rounded(a / b, (x[1] + abs(a / b) * y[1]) / room, dtype)


def _unary(op: str, x: Value, dtype: str) -> Value:
    value, error = x
    match op:
        case "-":
            return (-value, error) if dtype in EPS else (_wrapped(-int(value), dtype), 0.0)
        case "abs":
            return (abs(value), error) if dtype in EPS else (_wrapped(abs(int(value)), dtype), 0.0)
        case "not":
            return not value, 0.0
        case "floor":
            if math.isinf(value):
                return x
            if error and math.floor(value - error) != math.floor(value + error):
                raise Unsuitable
            return float(math.floor(value)), 0.0
    if math.isinf(value):
        raise Unsuitable
    function, growth = _FUNCTIONS[op]
    return _rounded(function(value), growth(value, error), dtype, ulps=6.0)


def _cast(x: Value, source: str, target: str) -> Value:
    value, error = x
    if target == "bool":
        return _sure(value, error) != 0, 0.0
    if target in EPS:
        return _rounded(float(value), error, target)
    if source in EPS:
        if error or math.isinf(value):
            raise Unsuitable
        bounds = np.iinfo(NUMPY[target])
        return min(max(math.trunc(value), int(bounds.min)), int(bounds.max)), 0.0
    return _wrapped(int(value), target), 0.0


class Evaluator:
    """One binding of sizes and arrays."""

    def __init__(self, sizes: Sizes, arrays: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        self.sizes, self.arrays = sizes, arrays

    def value(self, node: Node, env: dict[str, int]) -> Value:
        match node:
            case Num(value=number):
                return number, 0.0
            case Index(name=name):
                return env[name], 0.0
            case SizeOf(name=name):
                return self.sizes[name], 0.0
            case Elem():
                return self._element(node, env)
            case Red():
                return self._reduction(node, env)
        return self._call(node, env)

    def _element(self, node: Elem, env: dict[str, int]) -> Value:
        at = tuple(int(self.value(part, env)[0]) for part in node.at)
        values, errors = self.arrays[node.tensor.name]
        if any(not 0 <= i < n for i, n in zip(at, values.shape, strict=True)):
            raise IndexError(f"{node.tensor.name}{list(at)} of {values.shape}")
        return values[at].item(), float(errors[at])

    def _call(self, node: Call, env: dict[str, int]) -> Value:
        if node.op == "select":
            # Both branches are evaluated by the language too: neither guards what is read.
            chosen = self.value(node.args[0], env)[0]
            x, y = self.value(node.args[1], env), self.value(node.args[2], env)
            return x if chosen else y
        args = [self.value(arg, env) for arg in node.args]
        if node.op == "cast":
            return _cast(args[0], node.args[0].dtype, node.dtype)
        if len(args) == 1:
            return _unary(node.op, args[0], node.dtype)
        if node.op in _COMPARE:
            return _compare(node.op, *args)
        if node.op in ("and", "or"):
            a, b = bool(args[0][0]), bool(args[1][0])
            return (a and b) if node.op == "and" else (a or b), 0.0
        return _arithmetic(node.op, *args, node.dtype)

    def _reduction(self, node: Red, env: dict[str, int]) -> Value:
        terms: list[Value] = []
        extents = [range(extent.at(self.sizes)) for _, extent in node.axes]
        names = [name for name, _ in node.axes]
        for place in itertools.product(*extents):
            inner = {**env, **dict(zip(names, place, strict=True))}
            if node.guard is None or self.value(node.guard, inner)[0]:
                terms.append((*self.value(node.body, inner), place[0]))  # type: ignore[arg-type]
        return self._combined(node, terms)

    def _combined(self, node: Red, found: Sequence[tuple[float, float, int]]) -> Value:
        terms = [(value, error) for value, error, _ in found]
        kind, dtype = node.kind, node.body.dtype
        match kind:
            case "any" | "all":
                return (any if kind == "any" else all)(v for v, _ in terms), 0.0
            case "argmax" | "argmin":
                return self._position(kind, found), 0.0
            case "max" | "min":
                return _extremum(kind, terms, dtype)
            case "prod":
                total: Value = (1.0 if dtype in EPS else 1, 0.0)
                for term in terms:
                    total = _arithmetic("*", total, term, dtype)
                return total
        total = _sum(terms, dtype)
        if kind == "mean":
            if not terms:
                raise Unsuitable
            return _arithmetic("/", total, (float(len(terms)), 0.0), dtype)
        return total

    def _position(self, kind: str, found: Sequence[tuple[float, float, int]]) -> int:
        if not found:
            return 0
        sign = 1 if kind == "argmax" else -1
        best = max(found, key=lambda term: sign * term[0])  # the first of equals
        for value, error, place in found:
            if place != best[2] and (error or best[1]):
                _sure(best[0] - value, error + best[1])
        return best[2]


def _extremum(kind: str, terms: Sequence[Value], dtype: str) -> Value:
    if not terms:
        if dtype in EPS:
            return -math.inf if kind == "max" else math.inf, 0.0
        bounds = np.iinfo(NUMPY[dtype])
        return int(bounds.min if kind == "max" else bounds.max), 0.0
    value = (max if kind == "max" else min)(value for value, _ in terms)
    return value, max(error for _, error in terms)


def _sum(terms: Sequence[Value], dtype: str) -> Value:
    if dtype not in EPS:
        return _wrapped(sum(int(value) for value, _ in terms), dtype), 0.0
    if any(math.isinf(value) for value, _ in terms):
        raise Unsuitable
    total, size = math.fsum(v for v, _ in terms), math.fsum(abs(v) for v, _ in terms)
    error = math.fsum(e for _, e in terms)
    whole = all((value * 4096.0).is_integer() for value, _ in terms)
    if not error and whole and size * 4096.0 < 2.0**24:
        return _rounded(total, 0.0, dtype)  # exact in f32 in every order
    return _rounded(
        total, error + len(terms) * EPS["f64" if dtype == "f64" else "f32"] * size, dtype
    )


# ---- Text ------------------------------------------------------------------------------------

_LEVEL = {"or": 1, "and": 2, "not": 3, "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6}
_LEVEL |= dict.fromkeys(_COMPARE, 4)


def _level(node: Node) -> int:
    match node:
        case Red():
            return 6
        case Call(op="-", args=(_,)):
            return 7
        case Call(op=op, args=args):
            return _LEVEL.get(op, 9) if len(args) <= 2 else 9
        case Num(value=value):
            return 9 if value >= 0 else 0
    return 9


def _ends_in_reduction(node: Node) -> bool:
    """Whether the text ends in a reduction, which would take a product to its right."""
    if isinstance(node, Red):
        return True
    return isinstance(node, Call) and node.op in _LEVEL and _ends_in_reduction(node.args[-1])


class Writer:
    """Text with the parentheses that precedence asks for, and more where `generous`."""

    def __init__(self, undeclared: set[str], generous: bool) -> None:
        self.undeclared, self.generous = undeclared, generous

    def axis(self, name: str, extent: Lin) -> str:
        return name if name in self.undeclared else f"{name}: {extent}"

    def at(self, node: Node, level: int) -> str:
        text = self.text(node)
        extra = self.generous and _level(node) < 9
        return f"({text})" if _level(node) < level or extra else text

    def text(self, node: Node) -> str:
        match node:
            case Num(value=value):
                return repr(value)
            case Index(name=name) | SizeOf(name=name):
                return name
            case Elem(tensor=tensor, at=()):
                return tensor.name
            case Elem(tensor=tensor, at=at):
                return f"{tensor.name}[{', '.join(self.text(part) for part in at)}]"
            case Red(kind=kind, axes=axes, guard=guard, body=body):
                where = "" if guard is None else f" where {self.text(guard)}"
                named = ", ".join(self.axis(*axis) for axis in axes)
                return f"{kind}[{named}{where}] {self.at(body, 6)}"
        return self._call(node)

    def _call(self, node: Call) -> str:
        op, args = node.op, node.args
        if op == "cast":
            return f"cast({self.text(args[0])}, {node.dtype})"
        if op not in _LEVEL:
            return f"{op}({', '.join(self.text(arg) for arg in args)})"
        if len(args) == 1:
            inner = self.at(args[0], 4 if op == "not" else 8)
            return f"not {inner}" if op == "not" else f"-{inner}"
        level = _LEVEL[op]
        left = self.at(args[0], level + (op in _COMPARE))
        if level == 6 and _ends_in_reduction(args[0]) and not left.startswith("("):
            left = f"({left})"
        elif level == 6 and _ends_in_reduction(args[0]):
            left = f"({self.text(args[0])})"
        right = args[1]
        wanted = 6 if level == 6 and isinstance(right, Red) else level + 1
        return f"{left} {op} {self.at(right, wanted)}"


# ---- Drawing ---------------------------------------------------------------------------------


@dataclass
class Choice:
    """A subscript that stays in an axis of this size; `plain` for an index by itself."""

    node: Node
    axis: Lin
    plain: str = ""


@dataclass
class Scope:
    """The indices in sight, and the subscripts that guards allow besides."""

    indices: list[tuple[str, Lin]]
    guarded: list[Choice] = field(default_factory=list)


@dataclass
class Formula:
    axes: tuple[tuple[str, Lin], ...]
    body: Node


@dataclass
class Program:
    """A model of one or two formulas."""

    inputs: list[Tensor]
    lets: list[tuple[Tensor, Formula]]
    result: Formula
    text: str

    @property
    def names(self) -> list[str]:
        dims = [dim for tensor in self.inputs for dim in tensor.shape]
        return sorted({dim.name for dim in dims if dim.factor})

    def arrays(self, sizes: Sizes, seed: int) -> dict[str, np.ndarray]:
        """Inputs: multiples of 1/4 and small integers, so that much arithmetic is exact."""
        rng = np.random.default_rng(seed)
        return {tensor.name: _array(tensor, sizes, rng) for tensor in self.inputs}

    def expected(self, sizes: Sizes, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
        """The result in f64 (or integers), and how far off each element may be."""
        known = {name: (a, np.zeros(a.shape)) for name, a in arrays.items()}
        evaluator = Evaluator(sizes, known)
        for tensor, formula in self.lets:
            known[tensor.name] = _loop(evaluator, formula)
        return _loop(evaluator, self.result)


def _array(tensor: Tensor, sizes: Sizes, rng: np.random.Generator) -> np.ndarray:
    shape = tuple(dim.at(sizes) for dim in tensor.shape)
    if tensor.below is not None:
        below = tensor.below.at(sizes)
        return rng.integers(0, max(below, 1), shape).astype(NUMPY[tensor.dtype])
    if tensor.dtype in EPS:
        return (rng.integers(-8, 9, shape) / 4).astype(NUMPY[tensor.dtype])
    low = 0 if tensor.dtype in ("u8", "bool") else -4
    return rng.integers(low, 2 if tensor.dtype == "bool" else 8, shape).astype(NUMPY[tensor.dtype])


def _loop(evaluator: Evaluator, formula: Formula) -> tuple[np.ndarray, np.ndarray]:
    shape = [extent.at(evaluator.sizes) for _, extent in formula.axes]
    exact = formula.body.dtype not in EPS
    values = np.zeros(shape, NUMPY[formula.body.dtype] if exact else np.float64)
    errors = np.zeros(shape)
    for place in itertools.product(*map(range, shape)):
        env = {name: i for (name, _), i in zip(formula.axes, place, strict=True)}
        values[place], errors[place] = evaluator.value(formula.body, env)
    return values, errors


class Drawer:
    """Draws one program."""

    def __init__(self, draw: Callable[[st.SearchStrategy], object]) -> None:
        self.draw = draw
        self.tensors: list[Tensor] = []
        self.made: list[Tensor] = []
        self.plain: set[str] = set()  # indices whose size some use fixes
        self.loose: set[str] = set()  # indices that stand alone in an axis that is longer
        self.count = itertools.count()
        self.budget = 24

    def pick(self, items):  # type: ignore[no-untyped-def]
        return self.draw(st.sampled_from(tuple(items)))

    def maybe(self, percent: int) -> bool:
        return self.draw(st.integers(0, 99)) < percent  # type: ignore[operator]

    def name(self) -> str:
        """A name that no other index of the program has."""
        number = next(self.count)
        return "ijklmpqrsuvw"[number % 12] + (str(number // 12) if number >= 12 else "")

    def extent(self) -> Lin:
        return self.pick((Lin(0, "N", 1), Lin(0, "N", 1), Lin(0, "M", 1), Lin(1, "N", 1),
                          Lin(0, "N", 2), *map(Lin, (1, 2, 3, 4, 5))))  # fmt: skip

    # -- subscripts

    def choices(self, scope: Scope) -> list[Choice]:
        found = list(scope.guarded) * 2
        for name, extent in scope.indices:
            i = Index(name)
            found += [Choice(i, extent, name)] * 3
            found.append(Choice(i, extent.plus(2)))
            found.append(Choice(_plus(i, Num(1, "i64")), extent.plus(1)))
            found.append(Choice(_int("*", i, Num(2, "i64")), extent.times(2)))
            found.append(Choice(_int("-", _int("-", _size(extent), Num(1, "i64")), i), extent))
            found.append(Choice(_int("//", i, Num(2, "i64")), extent))
            back = _int("-", i, Num(1, "i64"))
            found.append(Choice(_int("max", back, Num(0, "i64")), extent))
            found.append(Choice(_int("%", i, SizeOf("M")), Lin(0, "M", 1)))
            found.append(Choice(_int("%", i, Num(3, "i64")), Lin(3)))
            if extent == Lin(0, "N", 1):
                turned = _int("%", _plus(i, Num(2, "i64")), SizeOf("N"))
                found.append(Choice(turned, extent))
        for (one, a), (two, b) in itertools.combinations(scope.indices, 2):
            if not a.factor or not b.factor:
                axis = Lin(a.constant + b.constant, a.name or b.name, a.factor + b.factor)
                found += [Choice(_plus(Index(one), Index(two)), axis)] * 2
                wide = _plus(_int("*", Num(2, "i64"), Index(one)), Index(two))
                longer = Lin(2 * a.constant + b.constant, axis.name, 2 * a.factor + b.factor)
                found.append(Choice(wide, longer))
        found.append(Choice(Num(1, "i64"), Lin(2)))
        return found

    def subscript(self, scope: Scope) -> Choice:
        if self.maybe(12) and scope.indices:
            return self.looked_up(scope)
        return self.pick(self.choices(scope))

    def looked_up(self, scope: Scope) -> Choice:
        """`ids[i]` as a subscript."""
        below = self.pick((Lin(3), Lin(5), Lin(0, "V", 1)))
        inner = self.pick([c for c in self.choices(scope) if not isinstance(c.node, Num)])
        dtype = self.pick(("i32", "i64", "u8"))
        return Choice(self.element(dtype, [inner], below), below)

    def element(self, dtype: str, at: Sequence[Choice], below: Lin | None = None) -> Elem:
        shape = tuple(choice.axis for choice in at)
        same = [t for t in self.tensors if (t.dtype, t.shape, t.below) == (dtype, shape, below)]
        if same and self.maybe(50):
            tensor = self.pick(same)
        else:
            tensor = Tensor(
                f"{'x' if below is None else 'ids'}{len(self.tensors)}", dtype, shape, below
            )
            self.tensors.append(tensor)
        for choice in at:
            if choice.plain:
                self.plain.add(choice.plain)
            elif isinstance(choice.node, Index):
                self.loose.add(choice.node.name)
        return Elem(tensor, tuple(choice.node for choice in at))

    # -- values

    def leaf(self, dtype: str, scope: Scope) -> Node:
        if dtype == "bool":
            return self.condition(scope, 0)
        if dtype == "i64" and scope.indices and self.maybe(30):
            return Index(self.pick(scope.indices)[0])
        known = [t for t in self.made if t.dtype == dtype]
        if known and self.maybe(60):
            found = self.of_made(self.pick(known), scope)
            if found is not None:
                return found
        count = self.pick((1, 1, 1, 2, 2, 3))
        return self.element(dtype, [self.subscript(scope) for _ in range(count)])

    def of_made(self, tensor: Tensor, scope: Scope) -> Node | None:
        """An element of an earlier formula's result."""
        at: list[Choice] = []
        for axis in tensor.shape:
            fitting = [c for c in self.choices(scope) if c.axis == axis]
            if not fitting:
                return None
            at.append(self.pick(fitting))
        for choice in at:
            if choice.plain:
                self.plain.add(choice.plain)
        return Elem(tensor, tuple(choice.node for choice in at))

    def value(self, dtype: str, scope: Scope, depth: int) -> Node:
        self.budget -= 1
        if depth <= 0 or self.budget <= 0:
            return self.leaf(dtype, scope)
        if dtype == "bool":
            return self.condition(scope, depth)
        kind = self.pick(("leaf", "binary", "binary", "binary", "unary", "select", "cast")
                         + ("reduce",) * 4)  # fmt: skip
        match kind:
            case "binary":
                return self.binary(dtype, scope, depth)
            case "unary":
                return self.unary(dtype, scope, depth)
            case "select":
                x, y = (self.value(dtype, scope, depth - 1) for _ in "xy")
                return Call("select", (self.condition(scope, depth - 1), x, y), dtype)
            case "cast":
                return self.cast(dtype, scope, depth)
            case "reduce" if len(scope.indices) < 5:
                return self.reduction(dtype, scope, depth)
        return self.leaf(dtype, scope)

    def binary(self, dtype: str, scope: Scope, depth: int) -> Node:
        x = self.value(dtype, scope, depth - 1)
        floats = dtype in EPS
        op = self.pick(("+", "-", "*", "max", "min") + (() if floats else ("//", "%")))
        if self.maybe(35):
            number = self.pick((0.5, 2.0, 1.0, 0.25, 3.0) if floats else (1, 2, 3, 5))
            return Call(op, (x, Num(number, dtype)), dtype)
        y = self.value(dtype, scope, depth - 1)
        if floats and self.maybe(15):
            below = Call("+", (Call("abs", (y,), dtype), Num(1.0, dtype)), dtype)
            return Call("/", (x, below), dtype)
        return Call(op, (x, y), dtype)

    def unary(self, dtype: str, scope: Scope, depth: int) -> Node:
        x = self.value(dtype, scope, depth - 1)
        if dtype not in EPS:
            return Call(self.pick(("abs",) if dtype == "u8" else ("-", "abs")), (x,), dtype)
        op = self.pick(("-", "abs", "floor", "tanh", "sigmoid", "sin", "cos", "erf", "exp", "sqrt",
                        "log"))  # fmt: skip
        if op == "exp":
            x = Call("-", (Call("abs", (x,), dtype),), dtype)
        elif op in ("sqrt", "log"):
            x = Call("+", (Call("abs", (x,), dtype), Num(0.5, dtype)), dtype)
        return Call(op, (x,), dtype)

    def cast(self, dtype: str, scope: Scope, depth: int) -> Node:
        sources = ("i64", "i64", "i32", "bool", "f64", "f32", "f16")
        source = self.pick([s for s in sources if s != dtype])
        return Call("cast", (self.value(source, scope, depth - 1),), dtype)

    def condition(self, scope: Scope, depth: int) -> Node:
        if depth > 1 and self.maybe(30):
            op = self.pick(("and", "or", "not"))
            parts = tuple(self.condition(scope, depth - 1) for _ in range(1 if op == "not" else 2))
            return Call(op, parts, "bool")
        if depth > 1 and self.maybe(20) and len(scope.indices) < 5:
            return self.reduction("bool", scope, depth)
        dtype = self.pick(("i64", "i32", "f32"))
        compare = self.pick(tuple(_COMPARE))
        x, y = (self.value(dtype, scope, min(depth - 1, 1)) for _ in "xy")
        return Call(compare, (x, y), "bool")

    # -- reductions

    def reduction(self, dtype: str, scope: Scope, depth: int) -> Node:
        kinds = ("any", "all") if dtype == "bool" else ("sum", "sum", "sum", "max", "min", "prod")
        kinds += ("mean",) if dtype in EPS else ("argmax", "argmin") if dtype == "i64" else ()
        kind = self.pick(kinds)
        count = 1 if kind.startswith("arg") else self.pick((1, 1, 2))
        axes = [(self.name(), self.extent()) for _ in range(count)]
        inner = Scope([*scope.indices, *axes], list(scope.guarded))
        guard = self.guard(scope, inner, axes) if self.maybe(40) else None
        body_dtype = self.pick(("f32", "i32", "f64")) if kind.startswith("arg") else dtype
        body = self.value(body_dtype, inner, depth - 1)
        return Red(kind, tuple(axes), guard, body, dtype)

    def guard(self, scope: Scope, inner: Scope, axes: list[tuple[str, Lin]]) -> Node:
        (k, _), form = axes[0], self.pick(("before", "window", "order", "data"))
        if scope.indices and form != "data":
            i, outer = self.pick(scope.indices)
            zero = Num(0, "i64")
            if form == "before":
                back = _int("-", Index(i), Index(k))
                inner.guarded.append(Choice(back, outer))
                return Call(">=", (back, zero), "bool")
            if form == "window":
                near = _int("-", _plus(Index(i), Index(k)), Num(1, "i64"))
                inner.guarded.append(Choice(near, outer))
                low = Call(">=", (near, zero), "bool")
                return Call("and", (low, Call("<", (near, _size(outer)), "bool")), "bool")
            return Call(self.pick(("<=", "<", "!=")), (Index(k), Index(i)), "bool")
        return self.condition(inner, 1)

    # -- programs

    def formula(self) -> tuple[Formula, str]:
        self.plain, self.loose, self.budget = set(), set(), 24
        axes = tuple((self.name(), self.extent()) for _ in range(self.pick((0, 1, 1, 2, 2, 3))))
        dtype = self.pick((*FLOATS, *INTS, "bool"))
        body = self.value(dtype, Scope(list(axes)), self.pick((1, 2, 3, 4)))
        undeclared = {n for n in sorted(self.plain - self.loose) if self.maybe(60)}
        writer = Writer(undeclared, self.maybe(30))
        named = ", ".join(writer.axis(*axis) for axis in axes)
        return Formula(axes, body), f"[{named}] -> {writer.at(body, 1)}"

    def program(self) -> Program:
        lets, lines = [], []
        for number in range(self.pick((0, 0, 1))):
            formula, text = self.formula()
            tensor = Tensor(f"t{number}", formula.body.dtype, tuple(e for _, e in formula.axes))
            lets.append((tensor, formula))
            lines.append(f"let {tensor.name} = {text}")
            self.made.append(tensor)
        result, text = self.formula()
        lines.append(text)
        self._tell_sizes(lets, result)
        formals = ", ".join(
            f"{t.name}: {t.dtype}[{', '.join(map(str, t.shape))}]" for t in self.tensors
        )
        body = "".join(f"    {line}\n" for line in lines)
        return Program(self.tensors, lets, result, f"model f({formals}) {{\n{body}}}\n")

    def _tell_sizes(self, lets: Sequence[tuple[Tensor, Formula]], result: Formula) -> None:
        """A model's inputs must tell its sizes: one more vector for each."""
        for name in ("N", "M", "V"):
            self.tensors.append(Tensor(f"size_{name}", "f32", (Lin(0, name, 1),)))


def _int(op: str, x: Node, y: Node) -> Node:
    return Call(op, (x, y), "i64")


def _plus(x: Node, y: Node) -> Node:
    return _int("+", x, y)


def _size(extent: Lin) -> Node:
    if not extent.factor:
        return Num(extent.constant, "i64")
    size: Node = SizeOf(extent.name)
    if extent.factor != 1:
        size = _int("*", Num(extent.factor, "i64"), size)
    return _plus(size, Num(extent.constant, "i64")) if extent.constant else size


@st.composite
def programs(draw) -> Program:  # type: ignore[no-untyped-def]
    """A model with index notation."""
    return Drawer(draw).program()
