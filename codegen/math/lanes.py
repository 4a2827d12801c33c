"""Numbers of the generated program, written in Python as one writes mathematics.

In: an LLVM value that is `float`, `double` or a vector of either. Out: a `Real` around it, whose
operators emit instructions on all lanes at once, so that each function is written once for every
type.

    x = Real.of(builder, value, target)
    (x * x + 1.0).value          →   %m = fmul <16 x float> %x, %x
                                     %a = fadd <16 x float> %m, splat (float 0x3FF0000000000000)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from stepwell.codegen.math.formats import F32, F64, Format, MathTarget


@dataclass(frozen=True)
class Lanes:
    """A kind of value, of `count` lanes or a scalar (None), and the builder to emit it with."""

    builder: ir.IRBuilder
    target: MathTarget
    format: Format
    count: int | None

    def type_of(self, element: ir.Type) -> ir.Type:
        return element if self.count is None else ir.VectorType(element, self.count)

    @property
    def real_type(self) -> ir.Type:
        return self.type_of(ir.FloatType() if self.format is F32 else ir.DoubleType())

    @property
    def bits_type(self) -> ir.Type:
        return self.type_of(ir.IntType(self.format.width))

    def _splat(self, type: ir.Type, number: float) -> ir.Constant:
        if self.count is None:
            return ir.Constant(type, number)
        splat = ir.FormattedConstant(type.element, f"splat ({ir.Constant(type.element, number)})")
        splat.type = type  # The constructor would take the text for a vector's elements.
        return splat

    def real(self, number: float | Real) -> Real:
        """The constant `number` on every lane."""
        if isinstance(number, Real):
            return number
        return Real(self, self._splat(self.real_type, float(number)))

    def bits(self, number: int | Bits) -> Bits:
        """The integer `number`, as wide as the format, on every lane."""
        return (
            number if isinstance(number, Bits) else Bits(self, self._splat(self.bits_type, number))
        )

    def intrinsic(self, name: str, *operands: ir.Value) -> ir.Value:
        """A call of an LLVM intrinsic whose operands and result have the lanes' real type."""
        suffix = self.format.name if self.count is None else f"v{self.count}{self.format.name}"
        full_name = f"llvm.{name}.{suffix}"
        module = self.builder.module
        function = module.globals.get(full_name)
        if function is None:
            kind = ir.FunctionType(self.real_type, [self.real_type] * len(operands))
            function = ir.Function(module, kind, full_name)
        return self.builder.call(function, operands)


@dataclass(frozen=True, eq=False)
class Mask:
    """A truth value per lane."""

    lanes: Lanes
    value: ir.Value

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.lanes, self.lanes.builder.and_(self.value, other.value))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.lanes, self.lanes.builder.or_(self.value, other.value))

    def __invert__(self) -> Mask:
        return Mask(self.lanes, self.lanes.builder.not_(self.value))

    def select(self, then: Real | float, otherwise: Real | float) -> Real:
        """Lane by lane `then` where true. Both are computed."""
        then, otherwise = self.lanes.real(then), self.lanes.real(otherwise)
        return Real(self.lanes, self.lanes.builder.select(self.value, then.value, otherwise.value))

    def as_minus_one(self) -> Bits:
        """The integer -1 where true, 0 where not."""
        return Bits(self.lanes, self.lanes.builder.sext(self.value, self.lanes.bits_type))

    def any(self) -> ir.Value:
        """One i1: whether some lane is true."""
        if self.lanes.count is None:
            return self.value
        whole = ir.IntType(self.lanes.count)
        builder = self.lanes.builder
        return builder.icmp_unsigned(
            "!=", builder.bitcast(self.value, whole), ir.Constant(whole, 0)
        )


@dataclass(frozen=True, eq=False)
class Bits:
    """An integer per lane, as wide as the format: bit patterns and exponents."""

    lanes: Lanes
    value: ir.Value

    def _apply(self, instruction: str, other: Bits | int) -> Bits:
        emit = getattr(self.lanes.builder, instruction)
        return Bits(self.lanes, emit(self.value, self.lanes.bits(other).value))

    def __add__(self, other: Bits | int) -> Bits:
        return self._apply("add", other)

    def __sub__(self, other: Bits | int) -> Bits:
        return self._apply("sub", other)

    def __and__(self, other: Bits | int) -> Bits:
        return self._apply("and_", other)

    def __or__(self, other: Bits | int) -> Bits:
        return self._apply("or_", other)

    def __xor__(self, other: Bits | int) -> Bits:
        return self._apply("xor", other)

    def __lshift__(self, other: int) -> Bits:
        return self._apply("shl", other)

    def logical_right(self, other: int) -> Bits:
        return self._apply("lshr", other)

    def arithmetic_right(self, other: int) -> Bits:
        return self._apply("ashr", other)

    def equals(self, other: Bits | int) -> Mask:
        right = self.lanes.bits(other).value
        return Mask(self.lanes, self.lanes.builder.icmp_signed("==", self.value, right))

    def signed_to_real(self) -> Real:
        """The signed integer as a floating-point number."""
        return Real(self.lanes, self.lanes.builder.sitofp(self.value, self.lanes.real_type))

    def as_real(self) -> Real:
        """The same bits, read as a floating-point number."""
        return Real(self.lanes, self.lanes.builder.bitcast(self.value, self.lanes.real_type))


@dataclass(frozen=True, eq=False)
class Real:
    """A floating-point number per lane, rounded as IEEE 754 says: no fast-math flag is set."""

    lanes: Lanes
    value: ir.Value

    @classmethod
    def of(cls, builder: ir.IRBuilder, value: ir.Value, target: MathTarget) -> Real:
        """Wraps `value`; raises TypeError where its type is not f32, f64 or a vector of these."""
        vector = isinstance(value.type, ir.VectorType)
        element = value.type.element if vector else value.type
        formats = {"float": F32, "double": F64}
        if str(element) not in formats:
            raise TypeError(f"mathematical functions work on f32 and f64, not on {value.type}")
        count = value.type.count if vector else None
        return cls(Lanes(builder, target, formats[str(element)], count), value)

    def _apply(self, instruction: str, left: Real | float, right: Real | float) -> Real:
        emit = getattr(self.lanes.builder, instruction)
        return Real(self.lanes, emit(self.lanes.real(left).value, self.lanes.real(right).value))

    def __add__(self, other: Real | float) -> Real:
        return self._apply("fadd", self, other)

    def __radd__(self, other: float) -> Real:
        return self._apply("fadd", other, self)

    def __sub__(self, other: Real | float) -> Real:
        return self._apply("fsub", self, other)

    def __rsub__(self, other: float) -> Real:
        return self._apply("fsub", other, self)

    def __mul__(self, other: Real | float) -> Real:
        return self._apply("fmul", self, other)

    def __rmul__(self, other: float) -> Real:
        return self._apply("fmul", other, self)

    def __truediv__(self, other: Real | float) -> Real:
        return self._apply("fdiv", self, other)

    def __rtruediv__(self, other: float) -> Real:
        return self._apply("fdiv", other, self)

    def __neg__(self) -> Real:
        return Real(self.lanes, self.lanes.builder.fneg(self.value))

    def __abs__(self) -> Real:
        return Real(self.lanes, self.lanes.intrinsic("fabs", self.value))

    def _compare(self, operator: str, other: Real | float) -> Mask:
        right = self.lanes.real(other).value
        return Mask(self.lanes, self.lanes.builder.fcmp_ordered(operator, self.value, right))

    def __lt__(self, other: Real | float) -> Mask:
        return self._compare("<", other)

    def __le__(self, other: Real | float) -> Mask:
        return self._compare("<=", other)

    def __gt__(self, other: Real | float) -> Mask:
        return self._compare(">", other)

    def __ge__(self, other: Real | float) -> Mask:
        return self._compare(">=", other)

    def equals(self, other: Real | float) -> Mask:
        """Lane-wise equality, false for NaN; `==` stays Python's identity."""
        return self._compare("==", other)

    def times_plus(self, factor: Real | float, addend: Real | float) -> Real:
        """self · factor + addend: rounded once where the target has FMA, twice where not."""
        factor, addend = self.lanes.real(factor), self.lanes.real(addend)
        if not self.lanes.target.fma:
            return self * factor + addend
        value = self.lanes.intrinsic("fma", self.value, factor.value, addend.value)
        return Real(self.lanes, value)

    def at_most(self, bound: float) -> Real:
        """min(self, bound); NaN stays. One `minps`."""
        limit = self.lanes.real(bound)
        return (limit < self).select(limit, self)

    def at_least(self, bound: float) -> Real:
        """max(self, bound); NaN stays. One `maxps`."""
        limit = self.lanes.real(bound)
        return (limit > self).select(limit, self)

    def with_sign_of(self, other: Real) -> Real:
        return Real(self.lanes, self.lanes.intrinsic("copysign", self.value, other.value))

    def scaled(self, exponent: Real) -> Real | None:
        """self · 2^exponent, rounded once, for an integer; None where no instruction does it."""
        lanes = self.lanes
        width = 0 if lanes.count is None else lanes.count * lanes.format.width
        if not lanes.target.scalef or width not in (128, 256, 512, 1024, 2048):
            return None
        if width > 512:
            parts = zip(self._halves(), exponent._halves(), strict=True)
            low, high = (x.scaled(n) for x, n in parts)
            assert low is not None and high is not None
            return low._joined(high)
        return Real(lanes, _scalef(lanes, self.value, exponent.value, width))

    def _halves(self) -> tuple[Real, Real]:
        """The first half of the lanes, and the second."""
        lanes = self.lanes
        assert lanes.count is not None
        half = replace(lanes, count=lanes.count // 2)

        def part(start: int) -> Real:
            places = range(start, start + lanes.count // 2)  # type: ignore[operator]
            value = lanes.builder.shuffle_vector(self.value, self.value, _places(places))
            return Real(half, value)

        return part(0), part(lanes.count // 2)

    def _joined(self, other: Real) -> Real:
        """The lanes of both, one after the other."""
        assert self.lanes.count is not None
        both = replace(self.lanes, count=2 * self.lanes.count)
        places = _places(range(2 * self.lanes.count))
        return Real(both, both.builder.shuffle_vector(self.value, other.value, places))

    def square_root(self) -> Real:
        return Real(self.lanes, self.lanes.intrinsic("sqrt", self.value))

    def as_bits(self) -> Bits:
        return Bits(self.lanes, self.lanes.builder.bitcast(self.value, self.lanes.bits_type))

    def widened(self) -> Real:
        """An f32 as f64, exactly."""
        wide = Lanes(self.lanes.builder, self.lanes.target, F64, self.lanes.count)
        return Real(wide, self.lanes.builder.fpext(self.value, wide.real_type))

    def narrowed(self) -> Real:
        """An f64 rounded to f32."""
        narrow = Lanes(self.lanes.builder, self.lanes.target, F32, self.lanes.count)
        return Real(narrow, self.lanes.builder.fptrunc(self.value, narrow.real_type))


def _places(places: range) -> ir.Constant:
    """Which lanes a shuffle takes."""
    return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), list(places))


def _scalef(lanes: Lanes, value: ir.Value, exponent: ir.Value, width: int) -> ir.Value:
    """AVX-512's `vscalefps` or `vscalefpd` on all lanes."""
    assert lanes.count is not None
    kind, module = value.type, lanes.builder.module
    mask = ir.Constant(ir.IntType(max(8, lanes.count)), -1)
    operands = [value, exponent, ir.Constant(kind, ir.Undefined), mask]
    if width == 512:
        operands.append(ir.Constant(ir.IntType(32), 4))  # the current rounding
    letter = "s" if lanes.format is F32 else "d"
    name = f"llvm.x86.avx512.mask.scalef.p{letter}.{width}"
    function = module.globals.get(name)
    if function is None:
        types = [operand.type for operand in operands]
        function = ir.Function(module, ir.FunctionType(kind, types), name)
    return lanes.builder.call(function, operands)


def polynomial(x: Real, coefficients: Sequence[float]) -> Real:
    """c0 + c1 x + c2 x² + …, by Horner's rule."""
    *lower, highest = coefficients
    result = x.lanes.real(highest)
    for coefficient in reversed(lower):
        result = result.times_plus(x, coefficient)
    return result
