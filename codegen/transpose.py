"""A square of elements transposed in registers, in place of a gather for each row of the result.

In: an unrolled loop around a vector loop of as many lanes that copies along the other axis.

    for u in 0..16 unrolled { for l in 0..16 vector { y[u, l] = x[l, u] } }
      →  16 loads of rows of x, 4 rounds of 16 shuffles, 16 stores

Each round swaps blocks: of halves of rows that are half the square apart, then of quarters, …
(J. O. Eklundh, "A fast computer method for matrix transposing", 1972).
"""

from __future__ import annotations

from stepwell.codegen import memory
from stepwell.codegen.expressions import dim_value, evaluate
from stepwell.codegen.state import Emission, MemoryBuffer
from stepwell.codegen.values import I32, Linear, LLVMValue, Value, numbers
from stepwell.ir.loop.core import For, Store
from stepwell.ir.scalar import Expr, Load

LEAST = 4  # lanes


def transposes(e: Emission, loop: For) -> bool:
    """Emits the loop as a transposed copy where it is one; whether it did."""
    copy = _copy(loop)
    if copy is None or e.mask is not None or e.lanes is not None:
        return False
    inner, store, load = copy
    source, target = e.memory.get(load.buffer), e.memory.get(store.buffer)
    if source is None or target is None or source.buffer.dtype != target.buffer.dtype:
        return False
    lanes = loop.extent
    assert isinstance(lanes, int)
    e.lanes, e.lane = lanes, inner.index
    e.variables[inner.index] = Linear(None, 0, 1)
    done = _emit(e, loop, (store, target), (load, source))
    e.lanes, e.lane = None, ""
    return done


def _copy(loop: For) -> tuple[For, Store, Load] | None:
    match loop:
        case For(
            kind="unrolled",
            extent=int(lanes),
            body=(For(kind="vector", body=(Store(value=Load(guard=None)),)) as inner,),
        ) if lanes >= LEAST and inner.extent == lanes:
            store = inner.body[0]
            assert isinstance(store, Store) and isinstance(store.value, Load)
            return inner, store, store.value
    return None


def _emit(
    e: Emission, loop: For, to: tuple[Store, MemoryBuffer], of: tuple[Load, MemoryBuffer]
) -> bool:
    (store, target), (load, source) = to, of
    lanes = e.lanes
    assert lanes is not None
    first, second = (_offset(e, loop, source, load.indices, turn) for turn in (0, 1))
    if not (isinstance(first, Linear) and isinstance(second, Linear)) or first.step in (0, 1):
        return False
    if second != Linear(first.base, first.constant + 1, first.step):
        return False
    places = [_offset(e, loop, target, store.indices, turn) for turn in range(lanes)]
    if not all(isinstance(place, Linear) and place.step == 1 for place in places):
        return False
    starts = [Linear(first.base, first.constant + i * first.step, 1) for i in range(lanes)]
    rows = [memory.load(e, source, start, None) for start in starts]
    for place, column in zip(places, _transposed(e, rows), strict=True):
        memory.store(e, target, place, column, store.stream)
    return True


def _offset(
    e: Emission, loop: For, buffer: MemoryBuffer, indices: tuple[Expr, ...], turn: int
) -> Value:
    e.variables[loop.index] = Linear(None, turn)
    subscripts = [evaluate(e, index) for index in indices]
    return memory.element_offset(e, buffer.buffer.shape, subscripts, lambda d: dim_value(e, d))


def _transposed(e: Emission, rows: list[LLVMValue]) -> list[LLVMValue]:
    count = block = len(rows)
    while block > 1:
        block //= 2
        low = [j if not j & block else count + j - block for j in range(count)]
        high = [j + block if not j & block else count + j for j in range(count)]
        for i in (i for i in range(count) if not i & block):
            x, y = rows[i], rows[i + block]
            rows[i] = e.builder.shuffle_vector(x, y, numbers(I32, low))
            rows[i + block] = e.builder.shuffle_vector(x, y, numbers(I32, high))
    return rows
