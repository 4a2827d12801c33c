"""Recognising a sum of products.

In: a naive nest. Out: its anatomy, a `Product`, where its heart is `acc[] = acc[] + A * B`: the
result's axes in groups, and the two factors.

    for i { for j { acc[] = 0.0; for k { acc[] = acc[] + x[i, k] * w[k, j] }; y[i, j] = acc[] } }
      →  rows (i), columns (j), reduction (k), A = x[i, k], B = w[k, j]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepwell.ir.loop.analysis import map_statements, substitute_block
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Check,
    For,
    If,
    Kernel,
    Let,
    Statement,
    Store,
    statements,
)
from stepwell.ir.scalar import (
    Binary,
    Const,
    Expr,
    Load,
    Select,
    as_dim,
    coefficient,
    loads,
    variables,
)
from stepwell.ir.size import Dim, product
from stepwell.lowering.strategies.padding import conjuncts
from stepwell.lowering.transforms.fuse_loops import fuse_loops
from stepwell.lowering.transforms.navigate import find_loop, replace_loop
from stepwell.lowering.transforms.reorder import perfect_nest


@dataclass(frozen=True)
class Product:
    """The anatomy of a contraction's nest: loop indices by group, and the two factors."""

    batch: tuple[str, ...]
    outer: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    reduction: tuple[str, ...]
    a: Expr
    b: Expr


def without_outer_lets(kernel: Kernel) -> Kernel:
    """Lets between the loops of the outer nest moved into its innermost body; those before all
    loops stay, computed once."""

    def sink(block: Block) -> Block:
        loops = [s for s in block if isinstance(s, For)]
        lets = [s for s in block if isinstance(s, Let)]
        if len(loops) != 1 or len(loops) + len(lets) != len(block):
            return block
        body = loops[0].body
        for let in reversed(lets):
            body = substitute_block(body, {let.name: let.value})
        return (replace(loops[0], body=sink(body)),)

    first = tuple(s for s in kernel.body if isinstance(s, (Alloc, Let)))
    rest = tuple(s for s in kernel.body if not isinstance(s, (Alloc, Let)))
    return replace(kernel, body=(*first, *sink(rest)))


@dataclass(frozen=True)
class Terms:
    """One perfect nest around one sum: its result loops, in the order of the nest and of what is
    stored; its reduction loops; the factors of what is added up."""

    nest: tuple[str, ...]
    order: tuple[str, ...]
    reduction: tuple[str, ...]
    factors: tuple[Expr, ...]


def reduction_nest(kernel: Kernel) -> tuple[list[str], list[str]] | None:
    """Result loops and reduction loops, where the kernel is one perfect nest around one other."""
    nests = [s for s in kernel.body if isinstance(s, For)]
    if len(nests) != 1:
        return None
    nest = perfect_nest(kernel, nests[0].index)
    body = find_loop(kernel.body, nest[-1]).body
    inner = [s for s in body if isinstance(s, For)]
    if len(inner) != 1 or any(isinstance(s, (If, Check)) for s in body):
        return None
    return nest, perfect_nest(kernel, inner[0].index)


def find_terms(kernel: Kernel) -> Terms | None:
    """The sum of the kernel, where it is one perfect nest around one sum."""
    nests = reduction_nest(kernel)
    if nests is None:
        return None
    nest, reduction = nests
    body = find_loop(kernel.body, nest[-1]).body
    term = term_of(find_loop(kernel.body, reduction[-1]).body)
    stores = [s for s in body if isinstance(s, Store) and s.indices]
    if term is None or not stores:
        return None
    order = [name for i in stores[0].indices for name in variables(i)]
    if set(order) != set(nest) or len(order) != len(nest):
        return None
    return Terms(tuple(nest), tuple(order), tuple(reduction), tuple(factors_of(term)))


def find_product(kernel: Kernel) -> Product | None:
    """The anatomy of the kernel, where it is one perfect nest around one sum of products."""
    found = find_terms(kernel)
    return None if found is None else _grouped(found)


def term_of(body: Block) -> Expr | None:
    """What is added to the accumulator, with the lets of the body put in."""
    values: dict[str, Expr] = {}
    for statement in body:
        match statement:
            case Let(name=name, value=value):
                (whole,) = substitute_block((Let(name, value),), values)
                assert isinstance(whole, Let)
                values[name] = whole.value
            case Store(buffer=name, indices=(), value=Binary(op="add", x=Load(buffer=same), y=y)):
                if name != same or statement is not body[-1]:
                    return None
                (whole_store,) = substitute_block((Store("", (), y),), values)
                assert isinstance(whole_store, Store)
                term = whole_store.value
                if isinstance(term, Select) and _is_0_outside(term):
                    term = term.x
                return term
            case _:
                return None
    return None


def _is_0_outside(term: Select) -> bool:
    """Whether the term's guard is a guard of one of its factors, which is 0 outside of it.

    Not for floats: the other factor may be infinite or NaN, and then so is its product with 0.
    """
    if not isinstance(term.y, Const) or term.y.value != 0 or term.dtype.is_float:
        return False
    guards = [f.guard for f in factors_of(term.x) if isinstance(f, Load) and f.guard is not None]
    needed = conjuncts(term.condition)
    return any(set(needed) <= set(conjuncts(guard)) for guard in guards)


def factors_of(term: Expr) -> list[Expr]:
    if isinstance(term, Binary) and term.op == "mul":
        return [*factors_of(term.x), *factors_of(term.y)]
    return [term]


def _grouped(terms: Terms) -> Product | None:
    nest, order, reduction = terms.nest, terms.order, terms.reduction
    last = order[-1]
    b_factors = [f for f in terms.factors if last in variables(f)]
    a_factors = [f for f in terms.factors if last not in variables(f)]
    if len(b_factors) != 1 or not a_factors:
        return None
    (b,), a = b_factors, a_factors[0]
    for factor in a_factors[1:]:
        a = Binary("mul", a, factor)
    if not loads(a) or not loads(b):
        return None
    in_a, in_b = variables(a), variables(b)
    batch = [n for n in nest if n in in_a and n in in_b]
    rows = [n for n in nest if n in in_a and n not in in_b]
    columns: list[str] = []
    for name in reversed(order):
        if name in in_a:
            break
        columns.insert(0, name)
    if not columns or any(n not in in_a and n not in in_b for n in nest):
        return None
    outer = [n for n in nest if n in in_b and n not in in_a and n not in columns]
    if not all(r in in_a | in_b for r in reduction):
        return None
    return Product(tuple(batch), tuple(outer), tuple(rows), tuple(columns), reduction, a, b)


# ---------------------------------------------------------------------- its nest


def extent_of(kernel: Kernel, names: Sequence[str]) -> Dim:
    return product([find_loop(kernel.body, name).extent for name in names])


def plain_product(kernel: Kernel, found: Product) -> Kernel:
    """The reduction's body as one statement, `acc[] = acc[] + a * b`."""

    def plain(loop: For) -> Block:
        store = loop.body[-1]
        assert isinstance(store, Store) and isinstance(store.value, Binary)
        value = Binary("add", store.value.x, Binary("mul", found.a, found.b))
        return (replace(loop, body=(replace(store, value=value),)),)

    return replace(kernel, body=replace_loop(kernel.body, found.reduction[-1], plain))


def outermost(kernel: Kernel) -> str:
    return next(s.index for s in kernel.body if isinstance(s, For))


def fused_loops(kernel: Kernel, names: tuple[str, ...]) -> tuple[Kernel, str]:
    index = names[0]
    for _ in names[1:]:
        kernel, index = fuse_loops(kernel, index)
    return kernel, index


def factor_of(kernel: Kernel, deep: str, side: str) -> Expr:
    """The factor a or b of the terms of this reduction, as it is now."""
    store = find_loop(kernel.body, deep).body[-1]
    assert isinstance(store, Store) and isinstance(store.value, Binary)
    product_ = store.value.y
    assert isinstance(product_, Binary)
    return product_.x if side == "a" else product_.y


def packed_factor(kernel: Kernel, deep: str, side: str) -> str:
    """The scratch that a factor is read from, once it is packed."""
    factor = factor_of(kernel, deep, side)
    assert isinstance(factor, Load)
    return factor.buffer


def guards_on(kernel: Kernel, index: str) -> list[Expr]:
    """The conditions on this loop's index around the innermost body of the nest."""
    return [
        s.condition
        for s in statements(kernel.body)
        if isinstance(s, If) and index in variables(s.condition)
    ]


def stride(load: Load, shape: Sequence[Dim], index: str) -> int | None:
    """Elements from one iteration of the loop to the next; None where that is not a number."""
    total: Dim = 0
    for place, subscript in enumerate(load.indices):
        if index not in variables(subscript):
            continue
        dim = as_dim(subscript)
        step = None if dim is None else coefficient(dim, index)
        if step is None:
            return None
        total = total + step * product(tuple(shape[place + 1 :]))
    return total if isinstance(total, int) else None


def streams(expr: Expr, index: str) -> bool:
    """Whether neighbours along `index` are neighbours in memory, for every load that uses it."""
    for load in loads(expr):
        for place, subscript in enumerate(load.indices):
            if index not in variables(subscript):
                continue
            dim = as_dim(subscript)
            last = place == len(load.indices) - 1
            if dim is None or not last or coefficient(dim, index) != 1:
                return False
    return True


def whole_a(kernel: Kernel) -> Kernel:
    """The first factor, read where it is, without a guard: all rows of a tile are there, and
    whether a column is a spare one is no matter of A's. So it stays one scalar for all lanes."""

    def whole(statement: Statement) -> Statement:
        match statement:
            case Store(value=Binary(x=Load(), y=Binary(op="mul", x=Load() as a) as term) as total):
                term = replace(term, x=replace(a, guard=None))
                return replace(statement, value=replace(total, y=term))
        return statement

    return replace(kernel, body=map_statements(kernel.body, whole))
