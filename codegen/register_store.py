"""Stores to register arrays: a new SSA value for what was stored.

In: an array, subscripts as numbers (-1 for the lane), a value, the mask. Out: the array's values
changed; on inactive lanes the old value stays.

    acc[2, l] = x under a mask   →   %new = select <16 x i1> %mask, %x, %old
"""

from __future__ import annotations

from stepwell.codegen.registers import RegisterArray
from stepwell.codegen.state import Emission, spread
from stepwell.codegen.values import I32, LLVMValue, constant, lanes_of


def store_register(e: Emission, array: RegisterArray, places: list[int], value: LLVMValue) -> None:
    """Stores an element, or a row where the last subscript is the lane."""
    if array.lanes is not None and places[-1] == -1:
        place = array.position(places[:-1])
        new = spread(e, value, array.lanes)
        if e.mask is not None:
            mask = spread(e, e.mask, array.lanes)
            new = e.builder.select(mask, new, array.values[place])
        array.values[place] = new
        return
    if lanes_of(value) is not None or e.mask is not None:
        value = _last_active(e, value, _read(e, array, places))
    _write(e, array, places, value)


def _last_active(e: Emission, value: LLVMValue, old: LLVMValue) -> LLVMValue:
    """What one element holds after all lanes stored to it in order."""
    count = lanes_of(value)
    if e.mask is None or lanes_of(e.mask) is None:
        if count is not None:
            value = e.builder.extract_element(value, constant(I32, count - 1))
        return value if e.mask is None else e.builder.select(e.mask, value, old)
    value = spread(e, value, e.mask.type.count)
    for lane in range(e.mask.type.count):
        active = e.builder.extract_element(e.mask, constant(I32, lane))
        element = e.builder.extract_element(value, constant(I32, lane))
        old = e.builder.select(active, element, old)
    return old


def _read(e: Emission, array: RegisterArray, places: list[int]) -> LLVMValue:
    if array.lanes is None:
        return array.values[array.position(places)]
    row = array.values[array.position(places[:-1])]
    return e.builder.extract_element(row, constant(I32, places[-1]))


def _write(e: Emission, array: RegisterArray, places: list[int], value: LLVMValue) -> None:
    if array.lanes is None:
        array.values[array.position(places)] = value
        return
    place = array.position(places[:-1])
    row = array.values[place]
    array.values[place] = e.builder.insert_element(row, value, constant(I32, places[-1]))
