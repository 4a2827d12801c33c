"""Philox 4x32-10 as instructions, on one lane or on all lanes of a vector loop.

In: counter and key as i64 values. Out: one of the four output words, an i32 value.

    philox(i, place, seed, 0)   →   ten rounds of   %p = mul <16 x i64> %c0, 0xD2511F53
                                                    %h = lshr %p, 32,  %x = xor %h, %c1, …

A word stands in an i64 lane, its upper half garbage until it is multiplied: then both factors are
below 2^32, which x86 multiplies by one `vpmuludq` for four or eight lanes. A key that is the same
on every lane stays scalar, as do the words of a counter. All four words of one counter are
computed once in a stretch of straight-line code.
"""

from __future__ import annotations

from stepwell.codegen.state import Emission, alike
from stepwell.codegen.values import I32, LLVMValue, constant, lanes_of, with_lanes
from stepwell.ir.philox import MASK, MULTIPLIERS, ROUNDS, WEYL


def philox(e: Emission, low: LLVMValue, high: LLVMValue, key: LLVMValue, word: int) -> LLVMValue:
    """An output word of the counter `high * 2^64 + low`."""
    words = e.once(("philox", low, high, key), lambda: _words(e, low, high, key))
    found = words[word]
    return e.builder.trunc(found, with_lanes(I32, lanes_of(found)))


def _words(e: Emission, low: LLVMValue, high: LLVMValue, key: LLVMValue) -> tuple[LLVMValue, ...]:
    c0, c1 = low, _upper(e, low)
    c2, c3 = high, _upper(e, high)
    k0, k1 = key, _upper(e, key)
    for _ in range(ROUNDS):
        left, right = _product(e, c0, MULTIPLIERS[0]), _product(e, c2, MULTIPLIERS[1])
        c0, c1 = _xor(e, _upper(e, right), _xor(e, c1, k0)), right
        c2, c3 = _xor(e, _upper(e, left), _xor(e, c3, k1)), left
        k0, k1 = (_plus(e, k, constant) for k, constant in zip((k0, k1), WEYL, strict=True))
    return c0, c1, c2, c3


def _upper(e: Emission, x: LLVMValue) -> LLVMValue:
    return e.builder.lshr(x, constant(x.type, 32))


def _product(e: Emission, x: LLVMValue, factor: int) -> LLVMValue:
    """The 64-bit product of a word and a 32-bit constant."""
    word = e.builder.and_(x, constant(x.type, MASK))
    return e.builder.mul(word, constant(x.type, factor))


def _plus(e: Emission, x: LLVMValue, number: int) -> LLVMValue:
    return e.builder.add(x, constant(x.type, number))


def _xor(e: Emission, x: LLVMValue, y: LLVMValue) -> LLVMValue:
    x, y = alike(e, x, y)
    return e.builder.xor(x, y)
