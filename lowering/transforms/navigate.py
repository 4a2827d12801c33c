"""Finding and replacing loops by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from stepwell.ir.diagnostics import PassError
from stepwell.ir.loop.core import Block, For, If, Kernel, LoopKind, Statement, statements
from stepwell.ir.scalar import Expr, map_children


class ScheduleError(PassError):
    """A transformation was asked for where it is not legal."""


def find_loop(block: Block, index: str) -> For:
    """The loop with this index."""
    for statement in statements(block):
        if isinstance(statement, For) and statement.index == index:
            return statement
    raise ScheduleError(f"there is no loop over {index}")


def replace_loop(block: Block, index: str, new: Callable[[For], Sequence[Statement]]) -> Block:
    """The block with the loop over `index` replaced by what `new` makes of it."""
    result: list[Statement] = []
    for statement in block:
        match statement:
            case For(index=name) if name == index:
                result.extend(new(statement))
            case For(body=body):
                inner = replace_loop(body, index, new)
                result.append(statement if inner is body else replace(statement, body=inner))
            case If(then=then, otherwise=otherwise):
                yes = replace_loop(then, index, new)
                no = replace_loop(otherwise, index, new)
                same = yes is then and no is otherwise
                result.append(statement if same else replace(statement, then=yes, otherwise=no))
            case _:
                result.append(statement)
    if len(result) == len(block) and all(a is b for a, b in zip(result, block, strict=True)):
        return block
    return tuple(result)


def as_kind(kernel: Kernel, index: str, kind: LoopKind) -> Kernel:
    """The kernel where the loop with this index is of this kind."""
    body = replace_loop(kernel.body, index, lambda loop: (replace(loop, kind=kind),))
    return replace(kernel, body=body)


def rewrite(expr: Expr, f: Callable[[Expr], Expr]) -> Expr:
    """`f` applied to every sub-expression, inside first."""
    return f(map_children(expr, lambda child: rewrite(child, f)))
