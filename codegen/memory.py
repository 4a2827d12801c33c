"""Loads and stores of buffers in memory: contiguous, uniform, strided or gathered; masked or not.

In: a buffer, its subscripts as values, a mask. Out: the loaded value in register form, or nothing.

    x[i, 16*k + l] in a vector loop over l   →   one vector load at x + i*K + 16*k
    x[l, j]                                  →   a gather
    x[i - 1] where i >= 1, not vectorised    →   the address of a zero is selected, no branch
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from stepwell.codegen.conversions import from_storage, to_storage
from stepwell.codegen.state import (
    Emission,
    MemoryBuffer,
    add,
    alike,
    conjunction,
    materialise,
    product,
    spread,
)
from stepwell.codegen.values import (
    I8,
    I32,
    I64,
    POINTER,
    Linear,
    LLVMType,
    LLVMValue,
    Value,
    constant,
    intrinsic,
    numbers,
    storage_type,
    suffix,
    undefined,
)
from stepwell.ir.loop.core import Block, Store, statements
from stepwell.ir.size import Dim
from stepwell.ir.size import product as dim_product

_ZEROS = "stepwell_zeros"  # read in place of what a guard excludes


def load(e: Emission, buffer: MemoryBuffer, offset: Value, guard: LLVMValue | None) -> LLVMValue:
    """The element(s) at an element offset; 0 where not `guard`, unread where masked out."""
    dtype = buffer.buffer.dtype
    raw = _load_raw(e, buffer, offset, guard)
    return from_storage(e.builder, e.target, raw, dtype)


def _load_raw(
    e: Emission, buffer: MemoryBuffer, offset: Value, guard: LLVMValue | None
) -> LLVMValue:
    element = storage_type(buffer.buffer.dtype)
    mask = e.mask
    if guard is not None:
        mask = guard if mask is None else conjunction(e, mask, guard)
    if isinstance(offset, Linear) and offset.step == 0:
        return _load_uniform(e, buffer, offset, guard, mask)
    lanes = e.lanes
    assert lanes is not None, "lanes outside a vector loop"
    type = ir.VectorType(element, lanes)
    align = buffer.buffer.dtype.bytes
    uniform = mask is None or not hasattr(mask.type, "count")
    if isinstance(offset, Linear) and offset.step == 1:
        address = _address(e, buffer, offset)
        if uniform:
            safe = _guarded(e, address, mask, lanes * align)
            return e.builder.load(safe, align=align, typ=type)
        name = f"llvm.masked.load.{suffix(type)}.p0"
        operands = [address, constant(I32, align), mask, constant(type, 0)]
        return intrinsic(e.builder, name, type, operands)
    if isinstance(offset, Linear) and mask is None and offset.step in (-1, 2):
        return _load_strided(e, buffer, offset, type)
    addresses = _addresses(e, buffer, offset)
    everywhere = constant(ir.VectorType(ir.IntType(1), lanes), True)
    mask = everywhere if mask is None else spread(e, mask, lanes)
    name = f"llvm.masked.gather.{suffix(type)}.{suffix(addresses.type)}"
    operands = [addresses, constant(I32, align), mask, constant(type, 0)]
    return intrinsic(e.builder, name, type, operands)


def _load_uniform(
    e: Emission,
    buffer: MemoryBuffer,
    offset: Linear,
    guard: LLVMValue | None,
    mask: LLVMValue | None,
) -> LLVMValue:
    """One element for all lanes: read where any lane needs it."""
    dtype = buffer.buffer.dtype
    vector_mask = mask is not None and hasattr(mask.type, "count")
    condition = any_lane(e, mask) if vector_mask else mask
    address = _guarded(e, _address(e, buffer, offset), condition, dtype.bytes)
    value = e.builder.load(address, align=dtype.bytes, typ=storage_type(dtype))
    if guard is None or not hasattr(guard.type, "count"):
        return value
    guard, wide = alike(e, guard, value)
    return e.builder.select(guard, wide, constant(wide.type, 0))


def _load_strided(e: Emission, buffer: MemoryBuffer, offset: Linear, type: LLVMType) -> LLVMValue:
    """Every second element (two loads that stay inside, and a shuffle), or backwards."""
    lanes, align = type.count, buffer.buffer.dtype.bytes
    if offset.step == -1:
        start = Linear(offset.base, offset.constant - (lanes - 1), 0)
        near = e.builder.load(_address(e, buffer, start), align=align, typ=type)
        backwards = numbers(I32, list(range(lanes - 1, -1, -1)))
        return e.builder.shuffle_vector(near, undefined(type), backwards)
    low = e.builder.load(_address(e, buffer, offset), align=align, typ=type)
    start = Linear(offset.base, offset.constant + lanes - 1, 0)
    high = e.builder.load(_address(e, buffer, start), align=align, typ=type)
    # Lane i is element 2*i: of `low` while 2*i < lanes, then of `high`, which starts at lanes - 1.
    places = [2 * i if 2 * i < lanes else lanes + 2 * i - (lanes - 1) for i in range(lanes)]
    return e.builder.shuffle_vector(low, high, numbers(I32, places))


def store(
    e: Emission, buffer: MemoryBuffer, offset: Value, value: LLVMValue, stream: bool = False
) -> None:
    """Stores a register value (scalar or vector) at an element offset, where the mask allows."""
    dtype = buffer.buffer.dtype
    raw = to_storage(e.builder, e.target, value, dtype)
    align, mask, lanes = dtype.bytes, e.mask, e.lanes
    if isinstance(offset, Linear) and offset.step == 0:
        if mask is None:
            if hasattr(raw.type, "count"):  # lanes in order: the last one stays
                raw = e.builder.extract_element(raw, constant(I32, raw.type.count - 1))
            e.builder.store(raw, _address(e, buffer, offset), align=align)
            return
        offset = spread(e, materialise(e, offset), mask.type.count)
    assert lanes is not None, "lanes outside a vector loop"
    raw = spread(e, raw, lanes)
    if isinstance(offset, Linear) and offset.step == 1:
        address = _address(e, buffer, offset)
        if mask is None:
            if stream:
                _stream(e, raw, address, align)
            else:
                e.builder.store(raw, address, align=align)
            return
        name = f"llvm.masked.store.{suffix(raw.type)}.p0"
        operands = [raw, address, constant(I32, align), mask]
        intrinsic(e.builder, name, ir.VoidType(), operands)
        return
    addresses = _addresses(e, buffer, offset)
    if mask is None:
        mask = constant(ir.VectorType(ir.IntType(1), lanes), True)
    name = f"llvm.masked.scatter.{suffix(raw.type)}.{suffix(addresses.type)}"
    intrinsic(e.builder, name, ir.VoidType(), [raw, addresses, constant(I32, align), mask])


def _stream(e: Emission, raw: LLVMValue, address: LLVMValue, align: int) -> None:
    """Past the caches where the address is that of a whole register; else a plain store."""
    bytes = min(align * raw.type.count, e.target.vector_bits // 8)
    streamed, plain, done = e.block("stream"), e.block("plain"), e.block("stored")
    rest = e.builder.and_(e.builder.ptrtoint(address, I64), constant(I64, bytes - 1))
    e.builder.cbranch(e.builder.icmp_unsigned("==", rest, constant(I64, 0)), streamed, plain)
    e.builder.position_at_end(streamed)
    past = e.builder.store(raw, address, align=bytes)
    past.set_metadata("nontemporal", e.builder.module.add_metadata([constant(I32, 1)]))
    e.builder.branch(done)
    e.builder.position_at_end(plain)
    e.builder.store(raw, address, align=align)
    e.builder.branch(done)
    e.builder.position_at_end(done)


def prefetch(e: Emission, buffer: MemoryBuffer, offset: Linear) -> None:
    """Brings the line of an element into the first cache; what is not there does no harm."""
    reading, nearest, data = constant(I32, 0), constant(I32, 3), constant(I32, 1)
    operands = [_address(e, buffer, offset), reading, nearest, data]
    intrinsic(e.builder, "llvm.prefetch.p0", ir.VoidType(), operands)


def order_streams(e: Emission, block: Block) -> None:
    """A fence behind a block that streams: such stores are weakly ordered on x86, and another
    thread may look next."""
    streams = any(isinstance(s, Store) and s.stream for s in statements(block))
    if streams and e.target.architecture == "x86_64":
        intrinsic(e.builder, "llvm.x86.sse.sfence", ir.VoidType(), [])


def element_offset(
    e: Emission, shape: Sequence[Dim], subscripts: Sequence[Value], size: Any
) -> Value:
    """Row-major offset in elements; `size(dim)` is the value of a dim over sizes."""
    total: Value = Linear(None)
    for k, subscript in enumerate(subscripts):
        stride = size(dim_product(tuple(shape[k + 1 :])))
        if isinstance(subscript, Linear):
            term = product(e, subscript, stride)
        else:
            term = e.builder.mul(subscript, spread(e, materialise(e, stride), e.lanes or 1))
        if isinstance(total, Linear) and isinstance(term, Linear):
            total = add(e, total, term)
        else:
            wide = alike(e, materialise(e, total), materialise(e, term))
            total = e.builder.add(*wide)
    return total


def any_lane(e: Emission, mask: LLVMValue) -> LLVMValue:
    """Whether any lane of a mask is set."""
    whole = ir.IntType(mask.type.count)
    bits = e.builder.bitcast(mask, whole)
    return e.builder.icmp_unsigned("!=", bits, ir.Constant(whole, 0))


def _address(e: Emission, buffer: MemoryBuffer, offset: Linear) -> LLVMValue:
    """The address of lane 0. The constant comes last, to become the instruction's displacement."""
    element = storage_type(buffer.buffer.dtype)
    pointer = buffer.pointer
    if offset.base is not None:
        moved = e.builder.gep
        pointer = e.once(
            ("gep", buffer.pointer, offset.base, str(element)),
            lambda: moved(buffer.pointer, [offset.base], source_etype=element),
        )
    if offset.constant:
        number = constant(I64, offset.constant)
        pointer = e.builder.gep(pointer, [number], source_etype=element)
    return pointer


def _addresses(e: Emission, buffer: MemoryBuffer, offset: Value) -> LLVMValue:
    """A vector of addresses, one per lane."""
    element, lanes = storage_type(buffer.buffer.dtype), e.lanes
    assert lanes is not None, "lanes outside a vector loop"
    pointer = buffer.pointer
    if isinstance(offset, Linear):
        pointer = _address(e, buffer, Linear(offset.base, offset.constant))
        narrow = abs(offset.step) * lanes < 2**31
        steps = [offset.step * lane for lane in range(lanes)]
        index = numbers(I32 if narrow else I64, steps)
    else:
        index = offset
    addresses = e.builder.gep(pointer, [index], source_etype=element)
    addresses.type = ir.VectorType(POINTER, lanes)
    return addresses


def _guarded(e: Emission, address: LLVMValue, condition: LLVMValue | None, bytes: int) -> LLVMValue:
    """The address where the scalar condition holds, else that of zeros."""
    if condition is None:
        return address
    return e.builder.select(condition, address, _zeros(e.builder.module, bytes))


def _zeros(module: Any, bytes: int) -> LLVMValue:
    size = 64
    while size < bytes:
        size *= 2
    name = f"{_ZEROS}_{size}"
    found = module.globals.get(name)
    if found is None:
        type = ir.ArrayType(I8, size)
        found = ir.GlobalVariable(module, type, name)
        found.initializer = ir.Constant(type, None)
        found.global_constant = True
        found.linkage = "internal"
        found.align = 64
    return found
