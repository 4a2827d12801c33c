"""Storing what changes, where a kernel has an array's old elements in place.

    for i in 0..N {                                         if 0 <= p[] and p[] < N {
      for j in 0..16 vector {                                 let i_1: i64 = p[]
        y[i, j] = select(i == p[], x[j], y[i, j])        →    for j in 0..16 vector {
      }                                                         y[i_1, j] = x[j]
    }                                                       } }

So a cache of keys gets one row, however long it is. In: a kernel and its array in place. Out: the
kernel without stores of an element to where it is; the condition goes outside the loops that it
does not depend on, and a loop of which it is one turn is that turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from stepwell.ir.loop.analysis import (
    fresh_name,
    substitute_block,
    taken_names,
    variables_of,
)
from stepwell.ir.loop.core import Block, For, If, Kernel, Let, Statement, Store
from stepwell.ir.scalar import (
    Binary,
    Expr,
    Load,
    Select,
    Var,
    from_dim,
    index,
    loads,
    substitute,
    variables,
)


def store_changes(kernel: Kernel, name: str) -> Kernel:
    """The kernel that stores to the array `name` what is not there yet."""
    return _Changes(kernel, name).run()


class _Changes:
    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel, self.name = kernel, name
        self.taken = taken_names(kernel)
        self.fixed = {p.buffer.name for p in kernel.parameters if not p.is_written}

    def run(self) -> Kernel:
        body = self._block(self.kernel.body, {})
        return self.kernel if body == self.kernel.body else replace(self.kernel, body=body)

    def _block(self, block: Block, lets: Mapping[str, Expr]) -> Block:
        """The block; `lets` are those around it, of data that no statement changes."""
        result: list[Statement] = []
        for before, statement in zip((None, *block), block, strict=False):
            match statement:
                case Let(name=name, value=value):
                    value = substitute(value, dict(lets))
                    if all(load.buffer in self.fixed for load in loads(value)):
                        lets = {**lets, name: value}
                case Store():
                    statement = self._change(statement, before, lets)
                case For(body=body):
                    inside = self._block(body, lets)
                    if inside != body:
                        statement = self._loop(replace(statement, body=inside))
            result.append(statement)
        return block if tuple(result) == block else _under_condition(tuple(result))

    def _change(
        self, store: Store, before: Statement | None, lets: Mapping[str, Expr]
    ) -> Statement:
        value = store.value
        if isinstance(before, Let) and value == Var(before.name, value.dtype):
            value = before.value
        old = Load(self.name, store.indices, value.dtype)
        if store.buffer == self.name and isinstance(value, Select) and value.y == old:
            condition = substitute(value.condition, dict(lets))
            return If(condition, (replace(store, value=value.x),), (), store.span)
        return store

    def _loop(self, loop: For) -> Statement:
        """The loop inside its body's condition, or as the one turn for which that holds."""
        match loop.body:
            case (If(condition=condition, then=then, otherwise=()),):
                if loop.index not in variables(condition):
                    return If(condition, (replace(loop, body=then),), (), loop.span)
                match condition:
                    case (
                        Binary(op="eq", x=Var(name=name), y=at)
                        | Binary(op="eq", x=at, y=Var(name=name))
                    ) if name == loop.index and loop.kind == "serial":
                        return self._turn(loop, at, then)
        return loop

    def _turn(self, loop: For, at: Expr, then: Block) -> Statement:
        name = fresh_name(self.taken, loop.index)
        body = substitute_block(then, {loop.index: Var(name)})
        exists = Binary("and", Binary("ge", at, index(0)), Binary("lt", at, from_dim(loop.extent)))
        return If(exists, (Let(name, at, loop.span), *body), (), loop.span)


def _under_condition(block: Block) -> Block:
    """The block without lets that it does not use; those that only its last statement uses, under
    that one's condition."""
    *lets, last = block
    if not isinstance(last, If) or not all(isinstance(s, Let) for s in lets):
        return block
    outside: Block = (replace(last, then=(), otherwise=()),)
    inside = last.then
    for let in reversed(lets):
        assert isinstance(let, Let), "looked at above"
        if let.name in variables_of(outside):
            outside = (let, *outside)
        elif let.name in variables_of(inside):
            inside = (let, *inside)
    return (*outside[:-1], replace(last, then=inside))
