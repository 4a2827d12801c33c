"""Fuse two perfectly nested loops into one.

    for i in 0..M { for j in 0..N { y[i, j] = x[i, j] + b[j] } }
      →  for f in 0..M*N { y[f] = x[f] + b[f % N] }

Where every access to a parameter has the subscripts `i, j` side by side and its dimension of j is
N, those two dimensions become one, so that the access stays contiguous: a kernel may see its
arguments in any shape with as many elements. Legal always.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.ir.loop.analysis import (
    fresh_name,
    loads_of,
    map_expressions,
    map_statements,
    stores_of,
    substitute_block,
    taken_names,
)
from stepwell.ir.loop.core import (
    Block,
    Buffer,
    For,
    Kernel,
    KernelParameter,
    Prefetch,
    Statement,
    Store,
    statements,
)
from stepwell.ir.scalar import Expr, Load, Var, from_dim
from stepwell.ir.size import floordiv, mod, symbol, symbols
from stepwell.lowering.transforms.navigate import ScheduleError, find_loop, replace_loop, rewrite


def fuse_loops(kernel: Kernel, outer: str) -> tuple[Kernel, str]:
    """Fuse the loop over `outer` with the one that is its whole body; the new index."""
    loop = find_loop(kernel.body, outer)
    if len(loop.body) != 1 or not isinstance(loop.body[0], For):
        raise ScheduleError(f"the loop over {outer} is not perfectly nested")
    inner = loop.body[0]
    if outer in symbols(inner.extent):
        raise ScheduleError(f"the extent of {inner.index} depends on {outer}")
    index = fresh_name(taken_names(kernel), f"{outer}{inner.index}")
    kernel = _collapse(kernel, loop, inner, index)

    def fused(old: For) -> Block:
        nested = old.body[0]
        assert isinstance(nested, For)
        body = nested.body
        position = symbol(index)
        width = 1 if inner.extent == 0 else inner.extent  # over nothing: the body never runs
        parts = {
            outer: from_dim(floordiv(position, width)),
            inner.index: from_dim(mod(position, width)),
        }
        extent = old.extent * inner.extent
        return (For(index, extent, old.kind, substitute_block(body, parts), old.span),)

    return replace(kernel, body=replace_loop(kernel.body, outer, fused)), index


def _collapse(kernel: Kernel, loop: For, inner: For, index: str) -> Kernel:
    """Merge the dimensions of parameters that are always read and written at `outer, inner`."""
    pair = (Var(loop.index), Var(inner.index))
    accesses: dict[str, list[tuple[Expr, ...]]] = {}
    found: list[Load | Store | Prefetch] = [*loads_of(kernel.body), *stores_of(kernel.body)]
    found += [s for s in statements(kernel.body) if isinstance(s, Prefetch)]
    for access in found:
        accesses.setdefault(access.buffer, []).append(access.indices)
    for number, parameter in enumerate(kernel.parameters):
        at = _position(accesses.get(parameter.buffer.name, []), parameter.buffer, pair, inner)
        if at is None:
            continue
        buffer, name = parameter.buffer, parameter.buffer.name
        merged = buffer.shape[at] * buffer.shape[at + 1]
        shape = (*buffer.shape[:at], merged, *buffer.shape[at + 2 :])

        def cut(indices: tuple[Expr, ...], at: int = at) -> tuple[Expr, ...]:
            return (*indices[:at], Var(index), *indices[at + 2 :])

        def in_expr(expr: Expr, name: str = name) -> Expr:
            if isinstance(expr, Load) and expr.buffer == name:
                return replace(expr, indices=cut(expr.indices))
            return expr

        def in_store(statement: Statement, name: str = name) -> Statement:
            if isinstance(statement, (Store, Prefetch)) and statement.buffer == name:
                return replace(statement, indices=cut(statement.indices))
            return statement

        body = map_expressions(kernel.body, lambda e: rewrite(e, in_expr))
        body = map_statements(body, in_store)
        new = KernelParameter(replace(buffer, shape=shape), parameter.role)
        parameters = (*kernel.parameters[:number], new, *kernel.parameters[number + 1 :])
        kernel = replace(kernel, parameters=parameters, body=body)
    return kernel


def _position(
    accesses: list[tuple[Expr, ...]], buffer: Buffer, pair: tuple[Expr, Expr], inner: For
) -> int | None:
    shape = buffer.shape
    for at in range(len(shape) - 1):
        if shape[at + 1] == inner.extent and accesses and all(
            indices[at : at + 2] == pair for indices in accesses
        ):  # fmt: skip
            return at
    return None
