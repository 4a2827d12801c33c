"""The scalar expression algebra, shared by operator bodies and by the loop IR.

    expr    ::= Const(value, dtype)
              | Var(name, dtype)                      a loop index or size (i64), or a `let`
              | Load(buffer, indices, dtype, guard)   buffer[indices]; 0, unread, where not guard
              | Unary(op, x) | Binary(op, x, y) | Select(condition, x, y) | Cast(x, dtype)
              | Philox(low, high, key, word)          32 random bits: see ir/philox.py
              | Reduce(kind, axes, body, guard)       formulas only
              | Horizontal(kind, buffer, dtype, indices)  loop IR only: lanes of a register array
    axis    ::= Axis(name, extent)
    formula ::= Formula(axes, value)

A `Formula` is index notation, `[i: N, j: M] -> sum[k: K] a[i, k] * b[k, j]`: the body of every
operator, as data. Loads of a formula name the operator's operands.

Operands of a `Binary` have one dtype; comparisons give bool. Index arithmetic is i64. Numbers
behave so: integers wrap; `floordiv` and `mod` floor, and are 0 where the divisor is 0; min and max
propagate NaN; a cast from float to integer saturates, NaN to 0; `div` is for floats only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from operator import is_

from stepwell.ir.dtypes import BOOL, I32, I64, DType
from stepwell.ir.size import Atom, Dim, Size, apply, symbol, symbols

ARITHMETIC = ("add", "sub", "mul", "div", "floordiv", "mod", "pow", "min", "max")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
LOGIC = ("and", "or", "xor")  # bool, or bitwise on integers
BINARY = ARITHMETIC + COMPARISONS + LOGIC
FLOAT_UNARY = (
    *("exp", "exp2", "expm1", "log", "log2", "log1p", "sqrt", "rsqrt", "sin", "cos"),
    *("tanh", "sigmoid", "erf", "floor", "ceil", "round", "trunc"),
)
PREDICATES = ("is_nan", "is_finite")  # float to bool
UNARY = ("neg", "abs", "sign", "not", *FLOAT_UNARY, *PREDICATES)
REDUCTIONS = ("sum", "prod", "max", "min", "argmax", "argmin", "any", "all")

# Costs in simple vector operations, to weigh recomputation against memory.
COST = {"exp": 12, "exp2": 12, "expm1": 16, "log": 16, "log2": 16, "log1p": 18, "sin": 20}
COST |= {"cos": 20, "tanh": 20, "sigmoid": 16, "erf": 20, "pow": 40, "div": 4, "sqrt": 6}
COST |= {"rsqrt": 6, "floordiv": 10, "mod": 10, "philox": 60}


@dataclass(frozen=True)
class Const:
    """A number, kept as the plain Python value that `dtype` can hold: 0.1 in f32 is rounded."""

    value: float | int | bool
    dtype: DType

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", self.dtype.plain(self.value))

    # 0.0 == -0.0 and nan != nan would make equality of programs wrong: compare by text.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[str, str]:
        return (repr(self.value), self.dtype.name)


@dataclass(frozen=True)
class Var:
    name: str
    dtype: DType = I64


@dataclass(frozen=True)
class Load:
    buffer: str
    indices: tuple[Expr, ...]
    dtype: DType
    guard: Expr | None = None


@dataclass(frozen=True)
class Unary:
    op: str
    x: Expr

    @property
    def dtype(self) -> DType:
        return BOOL if self.op in PREDICATES else self.x.dtype


@dataclass(frozen=True)
class Binary:
    op: str
    x: Expr
    y: Expr

    @property
    def dtype(self) -> DType:
        return BOOL if self.op in COMPARISONS else self.x.dtype

    @cached_property
    def dim(self) -> Dim | None:
        """See `as_dim`: schedules ask again and again."""
        if self.dtype != I64:
            return None
        left = as_dim(self.x)
        right = None if left is None else as_dim(self.y)
        return None if left is None or right is None else _computed(self.op, left, right)

    @cached_property
    def variables(self) -> frozenset[str]:
        """See the function of this name."""
        return _variables(self)

    @cached_property
    def divisors(self) -> frozenset[str]:
        """Names that what it divides by depends on: see `divides_by`."""
        return _divisors(self)


@dataclass(frozen=True)
class Select:
    condition: Expr
    x: Expr
    y: Expr

    @property
    def dtype(self) -> DType:
        return self.x.dtype


@dataclass(frozen=True)
class Cast:
    x: Expr
    dtype: DType


@dataclass(frozen=True)
class Philox:
    """A word (0 to 3) of what Philox 4x32-10 makes of the counter high * 2^64 + low and the key,
    all i64."""

    low: Expr
    high: Expr
    key: Expr
    word: int

    @property
    def dtype(self) -> DType:
        return I32


@dataclass(frozen=True)
class Axis:
    name: str
    extent: Dim


@dataclass(frozen=True)
class Reduce:
    """Terms outside the guard are not read and count as the reduction's identity.

    argmax and argmin give the i64 position along their one axis.
    """

    kind: str
    axes: tuple[Axis, ...]
    body: Expr
    guard: Expr | None = None

    @property
    def dtype(self) -> DType:
        return I64 if self.kind.startswith("arg") else self.body.dtype


@dataclass(frozen=True)
class Horizontal:
    """The elements of a register array at these leading subscripts (without any: all of them),
    combined pairwise: halves, then quarters, and so on."""

    kind: str
    buffer: str
    dtype: DType
    indices: tuple[Expr, ...] = ()


Expr = Const | Var | Load | Unary | Binary | Select | Cast | Philox | Reduce | Horizontal


@dataclass(frozen=True)
class Formula:
    """`[axes] -> value`, row-major over the axes."""

    axes: tuple[Axis, ...]
    value: Expr


def index(value: int) -> Const:
    """An i64 constant."""
    return Const(value, I64)


def identity(kind: str, dtype: DType) -> Const:
    """The value of a reduction over nothing. argmax and argmin have none: they give 0."""
    values: dict[str, float | int | bool] = {
        "sum": 0.0 if dtype.is_float else 0,
        "prod": 1.0 if dtype.is_float else 1,
        "max": dtype.lowest,
        "min": dtype.highest,
        "any": False,
        "all": True,
    }
    return Const(values[kind], dtype)


COMBINE = {"sum": "add", "prod": "mul", "max": "max", "min": "min", "any": "or", "all": "and"}


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct sub-expressions, guards included."""
    match expr:
        case Const() | Var():
            return ()
        case Binary():
            return (expr.x, expr.y)
        case Load():
            return expr.indices if expr.guard is None else (*expr.indices, expr.guard)
        case Unary() | Cast():
            return (expr.x,)
        case Select():
            return (expr.condition, expr.x, expr.y)
        case Philox():
            return (expr.low, expr.high, expr.key)
        case Reduce():
            return (expr.body,) if expr.guard is None else (expr.body, expr.guard)
        case Horizontal():
            return expr.indices
    return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and everything in it, outside first."""
    waiting = [expr]
    while waiting:
        expr = waiting.pop()
        yield expr
        if type(expr) is Binary:  # most are: half the time of all walks
            waiting += (expr.y, expr.x)
        else:
            waiting += reversed(children(expr))


def map_children(expr: Expr, f: Callable[[Expr], Expr]) -> Expr:
    """The expression with `f` applied to its direct sub-expressions; itself where none changed."""
    old = children(expr)
    if not old:
        return expr
    new = tuple([f(child) for child in old])
    if all(map(is_, old, new)):
        return expr
    match expr:
        case Binary():
            return Binary(expr.op, *new)
        case Load():
            count = len(expr.indices)
            guard = new[count] if len(new) > count else None
            return Load(expr.buffer, new[:count], expr.dtype, guard)
        case Unary():
            return Unary(expr.op, *new)
        case Cast():
            return Cast(new[0], expr.dtype)
        case Select():
            return Select(*new)
        case Philox():
            return Philox(new[0], new[1], new[2], expr.word)
        case Reduce():
            return replace(expr, body=new[0], guard=new[1] if len(new) > 1 else None)
        case Horizontal():
            return replace(expr, indices=new)
        case _:
            return expr


def substitute(expr: Expr, values: dict[str, Expr]) -> Expr:
    """Each `Var` whose name is in `values` replaced. Extents of reductions are replaced too, where
    the value is a dim; axes' own names are assumed distinct from the keys."""
    if isinstance(expr, Var):
        return values.get(expr.name, expr)
    return map_children(expr, lambda child: substitute(child, values))


def loads(expr: Expr) -> list[Load]:
    """Every load in the expression, loads in subscripts included."""
    return [e for e in walk(expr) if isinstance(e, Load)]


def variables(expr: Expr) -> frozenset[str]:
    """Names of every `Var` used, axes of inner reductions and symbols of their extents included."""
    return expr.variables if isinstance(expr, Binary) else _variables(expr)


def _variables(expr: Expr) -> frozenset[str]:
    names: set[str] = set()
    for e in walk(expr):
        if isinstance(e, Var):
            names.add(e.name)
        elif isinstance(e, Reduce):
            names.update(name for axis in e.axes for name in symbols(axis.extent))
    return frozenset(names)


def operations(expr: Expr) -> int:
    """How many simple vector operations one evaluation takes, index arithmetic aside."""
    own = 0
    if isinstance(expr, (Unary, Binary)):
        own = COST.get(expr.op, 1)
    elif isinstance(expr, Select):
        own = 1
    elif isinstance(expr, Philox):
        own = COST["philox"]
    inside = (expr.x,) if isinstance(expr, Cast) else children(expr)
    if isinstance(expr, Load):
        inside = ()
    return own + sum(operations(child) for child in inside)


def from_dim(dim: Dim) -> Expr:
    """A dim as an i64 expression."""
    return index(dim) if isinstance(dim, int) else _from_size(dim)


@lru_cache(4096)
def _from_size(dim: Size) -> Expr:
    total: Expr | None = None
    for monomial, coefficient in sorted(dim.terms, key=lambda term: term[1] < 0):
        factors = [_from_atom(atom) for atom in monomial]
        magnitude = abs(coefficient)
        if magnitude != 1 or not factors:
            factors.insert(0, index(magnitude))
        term = factors[0]
        for factor in factors[1:]:
            term = Binary("mul", term, factor)
        if total is None:
            total = term if coefficient > 0 else Binary("mul", index(-1), term)
        else:
            total = Binary("add" if coefficient > 0 else "sub", total, term)
    assert total is not None, "a Size has a term"
    return total


def _from_atom(atom: Atom) -> Expr:
    if atom.function == "symbol":
        return Var(atom.name)
    return Binary(atom.function, from_dim(atom.left), from_dim(atom.right))


def as_dim(expr: Expr) -> Dim | None:
    """An i64 expression as a dim over its variables, where it is integer arithmetic; else None.

    With it `i*2 + p - 1` and `2*i - 1 + p` become one object: affine analysis is reading its terms.
    """
    match expr:
        case Const(value=int(value), dtype=dtype) if dtype == I64:
            return int(value)
        case Var(name=name, dtype=dtype) if dtype == I64:
            return symbol(name)
        case Binary():
            return expr.dim
    return None


def _computed(op: str, left: Dim, right: Dim) -> Dim | None:
    match op:
        case "add":
            return left + right
        case "sub":
            return left - right
        case "mul":
            return left * right
        case "floordiv" | "mod":
            return None if right == 0 else apply(op, left, right)
        case "max" | "min":
            return apply(op, left, right)
    return None


def divides_by(expr: Expr, names: Collection[str]) -> bool:
    """Whether a quotient or remainder in `expr` divides by something that depends on `names`.

    For an index that can be 0, `i // i` is 0 or 1: dims, where it is 1, are no help then.
    """
    found = expr.divisors if isinstance(expr, Binary) else _divisors(expr)
    return not found.isdisjoint(names)


def _divisors(expr: Expr) -> frozenset[str]:
    quotients = (e for e in walk(expr) if isinstance(e, Binary) and e.op in ("floordiv", "mod"))
    return frozenset[str]().union(*(variables(e.y) for e in quotients))


def simplify_index(expr: Expr) -> Expr:
    """An i64 expression in normal form where it is integer arithmetic; else unchanged."""
    dim = as_dim(expr)
    return expr if dim is None else from_dim(dim)


def coefficient(dim: Dim, name: str) -> Dim | None:
    """The factor of `name` where `dim` is affine in it: 0 if absent, None if not affine."""
    if isinstance(dim, int):
        return 0
    total: Dim = 0
    for monomial, c in dim.terms:
        powers = [a for a in monomial if a.function == "symbol" and a.name == name]
        others = [a for a in monomial if not (a.function == "symbol" and a.name == name)]
        if any(name in symbols(Size((((a,), 1),))) for a in others) or len(powers) > 1:
            return None
        if powers:
            total = total + (Size(((tuple(others), c),)) if others else c)
    return total
