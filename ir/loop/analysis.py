"""Questions about loop nests, and renaming and substitution in them: what schedules are made of.

In: blocks and kernels. Out: facts (`loads_of`, `reads`, `variables_of`, …) or new blocks.
Everything returns the same object where nothing changed.

    substitute_block(for i in 0..N - k { y[i + k] = x[i] },  {k: 4})
      →              for i in 0..N - 4 { y[i + 4] = x[i] }

Names are unique in a kernel, so substitution never captures. Code that duplicates a block renames
what the copy binds: `fresh_copy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    KernelParameter,
    Let,
    Prefetch,
    Statement,
    Store,
    statements,
)
from stepwell.ir.scalar import Expr, Horizontal, Load, Var, as_dim, map_children, variables, walk
from stepwell.ir.scalar import substitute as substitute_expr
from stepwell.ir.size import Dim, symbol, symbols
from stepwell.ir.size import substitute as substitute_dim


def own_expressions(statement: Statement) -> tuple[Expr, ...]:
    """The expressions that stand in the statement itself, not in its blocks."""
    match statement:
        case If(condition=condition) | Check(condition=condition):
            return (condition,)
        case Let(value=value):
            return (value,)
        case Store(indices=indices, value=value):
            return (*indices, value)
        case Prefetch(indices=indices):
            return indices
        case _:
            return ()


def own_dims(statement: Statement) -> tuple[Dim, ...]:
    """The dims that stand in the statement itself: a loop's extent, an allocation's shape."""
    match statement:
        case For(extent=extent):
            return (extent,)
        case Alloc(buffer=buffer):
            return buffer.shape
        case _:
            return ()


def expressions_of(block: Block) -> Iterator[Expr]:
    """Every expression in the block, sub-expressions included, in order."""
    for statement in statements(block):
        for expr in own_expressions(statement):
            yield from walk(expr)


def loads_of(block: Block) -> list[Load]:
    """Every load in the block, in order; those in subscripts and conditions included."""
    return [expr for expr in expressions_of(block) if isinstance(expr, Load)]


def stores_of(block: Block) -> list[Store]:
    """Every store in the block, in order."""
    return [statement for statement in statements(block) if isinstance(statement, Store)]


def reads(block: Block) -> frozenset[str]:
    """Names of the buffers that the block loads from or combines horizontally."""
    found = (e.buffer for e in expressions_of(block) if isinstance(e, (Load, Horizontal)))
    return frozenset(found)


def writes(block: Block) -> frozenset[str]:
    """Names of the buffers that the block stores to."""
    return frozenset(store.buffer for store in stores_of(block))


def allocations(block: Block) -> list[Buffer]:
    """The local buffers of the block, in order."""
    return [s.buffer for s in statements(block) if isinstance(s, Alloc)]


def index_names(block: Block) -> list[str]:
    """The indices of every loop in the block, outer first."""
    return [statement.index for statement in statements(block) if isinstance(statement, For)]


def let_names(block: Block) -> list[str]:
    """The names of every `let` in the block, in order."""
    return [statement.name for statement in statements(block) if isinstance(statement, Let)]


def bound_names(block: Block) -> list[str]:
    """Every name that the block introduces: loop indices, lets, local buffers; in order."""
    names: list[str] = []
    for statement in statements(block):
        match statement:
            case For(index=name) | Let(name=name):
                names.append(name)
            case Alloc(buffer=buffer):
                names.append(buffer.name)
    return names


def taken_names(kernel: Kernel) -> set[str]:
    """Every name in use in the kernel: sizes, parameters, and what the body introduces."""
    parameters = (parameter.buffer.name for parameter in kernel.parameters)
    return {*kernel.sizes, *parameters, *bound_names(kernel.body)}


def register_names(kernel: Kernel) -> frozenset[str]:
    """Names of the kernel's register buffers."""
    buffers = allocations(kernel.body)
    return frozenset(buffer.name for buffer in buffers if buffer.space == "register")


def kernel_buffers(kernel: Kernel) -> dict[str, Buffer]:
    """Every buffer of the kernel by name: parameters and local ones."""
    buffers = [parameter.buffer for parameter in kernel.parameters]
    return {buffer.name: buffer for buffer in [*buffers, *allocations(kernel.body)]}


def variables_of(block: Block) -> frozenset[str]:
    """Names of every size, index and let that the block uses, in expressions, extents, shapes."""
    found: set[str] = set()
    for statement in statements(block):
        for expr in own_expressions(statement):
            found |= variables(expr)
        for dim in own_dims(statement):
            found |= symbols(dim)
    return frozenset(found)


def fresh_name(taken: set[str], hint: str) -> str:
    """`hint`, or `hint_1`, `hint_2`, …: the first that is not taken. It is added to `taken`."""
    name, count = hint, 0
    while name in taken:
        count += 1
        name = f"{hint}_{count}"
    taken.add(name)
    return name


def map_statements(block: Block, f: Callable[[Statement], Statement | Block]) -> Block:
    """Each statement replaced by what `f` makes of it (one, or several, or none), inside first."""
    new: list[Statement] = []
    for statement in block:
        result = f(_map_inside(statement, lambda inner: map_statements(inner, f)))
        new.extend(result if isinstance(result, tuple) else (result,))
    return _same_if_equal(block, new)


def map_expressions(block: Block, f: Callable[[Expr], Expr]) -> Block:
    """`f` applied to each whole expression in the block: conditions, values, subscripts."""
    return map_statements(block, lambda statement: map_own_expressions(statement, f))


def map_loads(block: Block, f: Callable[[Load], Expr]) -> Block:
    """`f` applied to each load in the block, after the loads in it."""

    def mapped(expr: Expr) -> Expr:
        expr = map_children(expr, mapped)
        return f(expr) if isinstance(expr, Load) else expr

    return map_expressions(block, mapped)


def map_own_expressions(statement: Statement, f: Callable[[Expr], Expr]) -> Statement:
    """`f` applied to the expressions that stand in the statement itself."""
    old = own_expressions(statement)
    new = tuple(f(expr) for expr in old)
    if all(a is b for a, b in zip(old, new, strict=True)):
        return statement
    match statement:
        case If() | Check():
            return replace(statement, condition=new[0])
        case Let():
            return replace(statement, value=new[0])
        case Store():
            return replace(statement, indices=new[:-1], value=new[-1])
        case Prefetch():
            return replace(statement, indices=new)
        case _:
            return statement


def map_own_dims(statement: Statement, f: Callable[[Dim], Dim]) -> Statement:
    """`f` applied to a loop's extent and to an allocation's shape."""
    match statement:
        case For(extent=extent):
            new = f(extent)
            return statement if new == extent else replace(statement, extent=new)
        case Alloc(buffer=buffer):
            shape = tuple(f(dim) for dim in buffer.shape)
            if shape == buffer.shape:
                return statement
            return replace(statement, buffer=replace(buffer, shape=shape))
        case _:
            return statement


def _map_inside(statement: Statement, f: Callable[[Block], Block]) -> Statement:
    match statement:
        case For(body=body):
            new = f(body)
            return statement if new is body else replace(statement, body=new)
        case If(then=then, otherwise=otherwise):
            new_then, new_otherwise = f(then), f(otherwise)
            if new_then is then and new_otherwise is otherwise:
                return statement
            return replace(statement, then=new_then, otherwise=new_otherwise)
        case _:
            return statement


def _same_if_equal(old: Block, new: list[Statement]) -> Block:
    if len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True)):
        return old
    return tuple(new)


def substitute_block(block: Block, values: Mapping[str, Expr]) -> Block:
    """Each `Var` in `values` replaced; in loop extents and shapes too, where the value is a dim.

    ValueError where an extent needs a value that is no dim.
    """
    if not values:
        return block
    exprs = dict(values)
    dims = {name: dim for name, e in values.items() if (dim := as_dim(e)) is not None}
    opaque = values.keys() - dims.keys()

    def one(statement: Statement) -> Statement:
        statement = map_own_expressions(statement, lambda expr: substitute_expr(expr, exprs))
        for dim in own_dims(statement):
            if symbols(dim) & opaque:
                raise ValueError(f"{dim} is not over sizes and indices after substitution")
        return map_own_dims(statement, lambda dim: substitute_dim(dim, dims))

    return map_statements(block, one)


def rename_buffers(block: Block, names: Mapping[str, str]) -> Block:
    """Buffers renamed wherever they stand."""
    if not names:
        return block

    def one(statement: Statement) -> Statement:
        statement = map_own_expressions(statement, lambda expr: _rename_in_expr(expr, names))
        match statement:
            case Store(buffer=name) | Prefetch(buffer=name) if name in names:
                return replace(statement, buffer=names[name])
            case Alloc(buffer=buffer) if buffer.name in names:
                return replace(statement, buffer=replace(buffer, name=names[buffer.name]))
            case _:
                return statement

    return map_statements(block, one)


def _rename_in_expr(expr: Expr, names: Mapping[str, str]) -> Expr:
    expr = map_children(expr, lambda child: _rename_in_expr(child, names))
    if isinstance(expr, (Load, Horizontal)) and expr.buffer in names:
        return replace(expr, buffer=names[expr.buffer])
    return expr


def rename_variables(block: Block, names: Mapping[str, str]) -> Block:
    """Sizes, loop indices and lets renamed, where they are bound and where they are used."""
    if not names:
        return block
    dims: dict[str, Dim] = {old: symbol(new) for old, new in names.items()}

    def rename(expr: Expr) -> Expr:
        if isinstance(expr, Var):
            return replace(expr, name=names[expr.name]) if expr.name in names else expr
        return map_children(expr, rename)

    def one(statement: Statement) -> Statement:
        statement = map_own_expressions(statement, rename)
        statement = map_own_dims(statement, lambda dim: substitute_dim(dim, dims))
        match statement:
            case For(index=name) if name in names:
                return replace(statement, index=names[name])
            case Let(name=name) if name in names:
                return replace(statement, name=names[name])
            case _:
                return statement

    return map_statements(block, one)


def fresh_copy(block: Block, taken: set[str]) -> Block:
    """The block with every name it introduces made fresh, so that it can stand beside the original.

    The new names are added to `taken`.
    """
    buffers = {buffer.name: fresh_name(taken, buffer.name) for buffer in allocations(block)}
    names = [*index_names(block), *let_names(block)]
    renamed = {name: fresh_name(taken, name) for name in names}
    return rename_variables(rename_buffers(block, buffers), renamed)


def canonical(kernel: Kernel) -> Kernel:
    """The kernel with every name normalised, so that kernels that do the same compare equal.

    Sizes become n0, n1, …; parameters a0, …; local buffers b0, …; indices i0, …; lets t0, …. The
    names of the fused ops are dropped: they are for people.
    """
    sizes = _numbered("n", kernel.sizes)
    parameters = _numbered("a", (parameter.buffer.name for parameter in kernel.parameters))
    buffers = parameters | _numbered("b", (b.name for b in allocations(kernel.body)))
    indices = _numbered("i", index_names(kernel.body))
    variables = sizes | indices | _numbered("t", let_names(kernel.body))
    dims: dict[str, Dim] = {old: symbol(new) for old, new in sizes.items()}
    return Kernel(
        name="kernel",
        sizes=tuple(sizes[name] for name in kernel.sizes),
        parameters=tuple(_renamed(p, parameters, dims) for p in kernel.parameters),
        body=rename_variables(rename_buffers(kernel.body, buffers), variables),
        family=kernel.family,
        flops=substitute_dim(kernel.flops, dims),
    )


def _numbered(prefix: str, names: Iterable[str]) -> dict[str, str]:
    return {name: f"{prefix}{count}" for count, name in enumerate(dict.fromkeys(names))}


def _renamed(
    parameter: KernelParameter, names: Mapping[str, str], dims: Mapping[str, Dim]
) -> KernelParameter:
    buffer = parameter.buffer
    shape = tuple(substitute_dim(dim, dims) for dim in buffer.shape)
    return replace(parameter, buffer=replace(buffer, name=names[buffer.name], shape=shape))
