"""Built-ins that draw random numbers: uniform, normal, bernoulli. (`dropout` is in the prelude.)

uniform([N, 4])   →   %w = philox(%index, %place, %seed) {word = 0},  %u = %w // 2^8 * 2^-24 + 0.5

An element is a function of the seed, the step, the place of the call in the program, and its own
flat index. Of a word, a signed integer, the upper bits are taken, as many as the float type has in
its fraction: so all is exact up to a number in [0, 1), the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from stepwell.frontend.builtin_calls import BuiltinCall, builtin
from stepwell.frontend.creation_functions import checked_shape
from stepwell.frontend.math_functions import select
from stepwell.frontend.operators import binary, broadcast, number_tensor, unary
from stepwell.frontend.random_source import random_source
from stepwell.frontend.values import Tensor, is_number, kind_of
from stepwell.ir.dtypes import BF16, BOOL, F16, F32, F64, I64, DType
from stepwell.ir.size import Dim, product

_FRACTION = {F32: 24, F16: 11, BF16: 8}  # bits of a float type's fraction, its leading 1 included
Words = Callable[[int], Tensor]


@builtin
def uniform(call: BuiltinCall, shape: Any, low: Any = 0, high: Any = 1, dtype: Any = F32) -> Any:
    """Uniform in [low, high)."""
    target, words = _float(call, dtype), _words(call, shape)
    unit = _do(call, "+", _centred(call, words, 0, target), 0.5)
    if _is(low, 0) and _is(high, 1):
        return unit
    drawn = _do(call, "+", _do(call, "*", unit, _do(call, "-", high, low)), low)
    return select(call, _do(call, "<", drawn, high), drawn, low)  # the sum may round up to `high`


@builtin
def normal(call: BuiltinCall, shape: Any, mean: Any = 0, std: Any = 1, dtype: Any = F32) -> Any:
    """sqrt(-2 ln u) * cos(2 pi v) with u in (0, 1]: Box and Muller 1958. 16 bits are rounded."""
    target, words = _float(call, dtype), _words(call, shape)
    u = _do(call, "-", 0.5, _centred(call, words, 0, target.compute))
    v = _centred(call, words, 1, target.compute)
    radius = _of(call, "sqrt", _do(call, "*", _of(call, "log", u), -2.0))
    drawn = _do(call, "*", radius, _of(call, "cos", _do(call, "*", v, 2 * math.pi)))
    if target.compute is not target:
        drawn = call.emit("cast", [drawn], dtype=target)
    drawn = drawn if _is(std, 1) else _do(call, "*", drawn, std)
    return drawn if _is(mean, 0) else _do(call, "+", drawn, mean)


@builtin
def bernoulli(call: BuiltinCall, shape: Any, p: Any, dtype: Any = F32) -> Any:
    """1 with the probability p, else 0; true and false where `dtype` is bool."""
    words, target = _words(call, shape), call.dtype(dtype, "dtype")
    if not isinstance(p, Tensor) and not is_number(p):
        call.fail("SW0213", f"`p` must be a number or a tensor, not {kind_of(p)}", "p")
    if isinstance(p, (int, float)):
        hit = _below(call, words(0), p)
    else:
        element = p.dtype if isinstance(p, Tensor) else F32
        hit = _do(call, "<", _do(call, "+", _centred(call, words, 0, element), 0.5), p)
    return hit if target.is_bool else call.emit("cast", [hit], dtype=target)


def _below(call: BuiltinCall, word: Tensor, p: float) -> Tensor:
    """Whether a word, as a fraction of 2^32, is below p."""
    if not 0 <= p <= 1:
        call.fail("SW0217", f"`p` must be from 0 to 1, not {p}", "p")
    limit = round(p * 2**32) - 2**31  # words are signed
    if limit == -(2**31):
        return number_tensor(call.e, False, BOOL, word.shape, call.span)
    found: Tensor = _do(call, "<=", word, limit - 1)
    return found


# From words to numbers


def _words(call: BuiltinCall, shape: Any) -> Words:
    """The four i32 words of every element, each made when asked for."""
    e, dims = call.e, checked_shape(call, shape)
    source = random_source(e, call.span)
    place = number_tensor(e, source.next_place(), I64, (), call.span)
    high = place
    if source.step is not None:
        high = _do(call, "+", _do(call, "*", source.step, 2**32), place)
    index = _flat_index(call, dims)
    others = [broadcast(e, scalar, dims, call.span) for scalar in (high, source.seed)]
    return lambda word: call.emit("philox", [index, *others], word=word)


def _flat_index(call: BuiltinCall, shape: tuple[Dim, ...]) -> Tensor:
    index = call.emit("iota", [], dtype=I64, shape=(product(shape),), axis=0)
    return index if len(shape) == 1 else call.emit("reshape", [index], shape=shape)


def _centred(call: BuiltinCall, words: Words, number: int, dtype: DType) -> Tensor:
    """The number-th of the uniforms in [-0.5, 0.5) that an element's words make."""
    if dtype is F64:
        return _centred_f64(call, words(2 * number), words(2 * number + 1))
    bits = _FRACTION[dtype]
    upper = _do(call, "//", words(number), 2 ** (32 - bits))
    found: Tensor = _do(call, "*", call.emit("cast", [upper], dtype=dtype), 2.0**-bits)
    return found


def _centred_f64(call: BuiltinCall, first: Tensor, second: Tensor) -> Tensor:
    """27 bits of one word, and below them 26 of another."""
    upper = call.emit("cast", [_do(call, "//", first, 2**5)], dtype=F64)
    lower = call.emit("cast", [_do(call, "//", second, 2**6)], dtype=F64)
    lower = _do(call, "+", _do(call, "*", lower, 2.0**-53), 2.0**-28)
    found: Tensor = _do(call, "+", _do(call, "*", upper, 2.0**-27), lower)
    return found


def _do(call: BuiltinCall, op: str, x: Any, y: Any) -> Any:
    return binary(call.e, op, x, y, call.span, (call.span, call.span))


def _of(call: BuiltinCall, function: str, x: Tensor) -> Any:
    return unary(call.e, function, x, call.span, call.span)


def _is(value: Any, number: float) -> bool:
    return isinstance(value, (int, float)) and value == number


def _float(call: BuiltinCall, value: Any) -> DType:
    dtype = call.dtype(value, "dtype")
    if not dtype.is_float:
        call.fail("SW0213", f"draws floats, not {dtype}", "dtype")
    return dtype
