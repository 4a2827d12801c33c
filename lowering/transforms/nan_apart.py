"""Keep NaN apart: partial maxima and minima of numbers, and beside them the NaN that came by.

    for l in 0..16 vector { m[l] = -inf }          for l in 0..16 vector { m[l] = -inf
                                                                           m_nan[l] = -0.0 }
    for k in 0..K {                                for k in 0..K {
      for l in 0..16 vector {                        for l in 0..16 vector {
        m[l] = max(m[l], x[k, l])                      let m_term: f32 = x[k, l]
      }                                     →          m[l] = select(m_term > m[l], m_term, m[l])
    }                                                  m_nan[l] = select(is_nan(m_term), m_term, …)
                                                     }
                                                   }
    y[] = hmax(m)                                  y[] = hmax(m) + hsum(m_nan)

A maximum that carries NaN has to look at the partial result itself: two comparisons, a mask and a
choice, each waiting for the one before, from one term to the next. Here only the choice of the
larger number is in that chain, one instruction. `m` never holds NaN; `m_nan` holds -0.0, which
changes no number that it is added to (z + -0.0 is z, for -0.0 too), or NaN. Legal for registers in
lanes that begin as a constant and change by max or min alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from stepwell.ir.loop.analysis import (
    fresh_name,
    kernel_buffers,
    map_own_expressions,
    map_statements,
    stores_of,
    taken_names,
)
from stepwell.ir.loop.core import Alloc, Block, Buffer, Kernel, Let, Statement, Store
from stepwell.ir.scalar import Binary, Const, Expr, Horizontal, Load, Select, Unary, Var, loads
from stepwell.lowering.transforms.navigate import rewrite


def nan_apart(kernel: Kernel) -> Kernel:
    """Every register that gathers maxima or minima of floats in lanes, with NaN apart."""
    taken = taken_names(kernel)
    apart = {
        buffer.name: replace(buffer, name=fresh_name(taken, f"{buffer.name}_nan"))
        for buffer in kernel_buffers(kernel).values()
        if buffer.space == "register" and buffer.shape and buffer.dtype.is_float
        and _gathers(buffer.name, kernel.body)
    }  # fmt: skip
    if not apart:
        return kernel
    return replace(kernel, body=map_statements(kernel.body, _Apart(apart, taken).statement))


def _gathers(name: str, block: Block) -> bool:
    """Whether the register begins as a constant, and changes by max or min alone."""
    stores = [store for store in stores_of(block) if store.buffer == name]
    return any(map(_is_extremum, stores)) and all(
        _is_extremum(s) or (isinstance(s.value, Const) and not math.isnan(s.value.value))
        for s in stores
    )


def _is_extremum(store: Store) -> bool:
    match store.value:
        case Binary(op="max" | "min", x=Load(buffer=old, indices=indices), y=term):
            itself = old == store.buffer and indices == store.indices
            return itself and all(load.buffer != old for load in loads(term))
    return False


@dataclass
class _Apart:
    buffers: dict[str, Buffer]  # of numbers → of NaN
    taken: set[str]

    def statement(self, statement: Statement) -> Statement | Block:
        match statement:
            case Alloc(buffer=buffer) if buffer.name in self.buffers:
                return (statement, replace(statement, buffer=self.buffers[buffer.name]))
            case Store(buffer=name) if name in self.buffers:
                return self._stored(statement)
        return map_own_expressions(statement, lambda e: rewrite(e, self._read))

    def _stored(self, store: Store) -> Block:
        nan = replace(store, buffer=self.buffers[store.buffer].name)
        if isinstance(store.value, Const):
            return (store, replace(nan, value=Const(-0.0, store.value.dtype)))
        assert isinstance(store.value, Binary)
        old, dtype = store.value.x, store.value.dtype
        let = Let(fresh_name(self.taken, f"{store.buffer}_term"), store.value.y, store.span)
        term = Var(let.name, dtype)
        better = Binary("gt" if store.value.op == "max" else "lt", term, old)
        kept = Load(nan.buffer, store.indices, dtype)
        return (
            let,
            replace(store, value=Select(better, term, old)),
            replace(nan, value=Select(Unary("is_nan", term), term, kept)),
        )

    def _read(self, expr: Expr) -> Expr:
        match expr:
            case Load(buffer=name) if name in self.buffers:
                return Binary("add", expr, replace(expr, buffer=self.buffers[name].name))
            case Horizontal(buffer=name) if name in self.buffers:
                nan = replace(expr, kind="sum", buffer=self.buffers[name].name)
                return Binary("add", expr, nan)
        return expr
