"""What NAME_run asks before it runs: pointers, sizes, constraints.

In: pointers and dims over the program's sizes. Out: i1 values.

    magnitude(N*M + 1) <= 2^62   →   %n = uitofp N …;  %p = fmul %n, %m;  fadd %p, 1.0;  fcmp ole
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from stepwell.codegen.expressions import dim_value
from stepwell.codegen.state import Emission, materialise
from stepwell.codegen.values import I1, I64, POINTER, LLVMValue, Value, constant
from stepwell.ir.graph.core import Constraint
from stepwell.ir.loop.core import ALIGNMENT
from stepwell.ir.size import Atom, Dim


def is_given(e: Emission, pointer: LLVMValue) -> LLVMValue:
    """Whether a pointer is not null."""
    return e.builder.icmp_unsigned("!=", pointer, ir.Constant(POINTER, None))


def is_aligned(e: Emission, pointer: LLVMValue) -> LLVMValue:
    """Whether a pointer has the alignment of workspaces and weights."""
    rest = e.builder.and_(e.builder.ptrtoint(pointer, I64), constant(I64, ALIGNMENT - 1))
    return e.builder.icmp_unsigned("==", rest, constant(I64, 0))


def conjunction_of(e: Emission, conditions: Sequence[LLVMValue]) -> LLVMValue:
    """Whether all conditions hold."""
    result = constant(I1, True)
    for condition in conditions:
        result = e.builder.and_(result, condition)
    return result


def at_least_zero(e: Emission, value: Value) -> LLVMValue:
    """Whether a number is not negative."""
    return e.builder.icmp_signed(">=", materialise(e, value), constant(I64, 0))


def holds(e: Emission, constraint: Constraint) -> LLVMValue:
    """Whether the sizes satisfy a constraint."""
    left, right = (materialise(e, dim_value(e, d)) for d in (constraint.left, constraint.right))
    if constraint.relation == "%":  # right divides left; 0 divides only 0
        is_zero = e.builder.icmp_signed("==", right, constant(I64, 0))
        divisor = e.builder.select(is_zero, constant(I64, 1), right)
        rest = e.builder.select(is_zero, left, e.builder.srem(left, divisor))
        return e.builder.icmp_signed("==", rest, constant(I64, 0))
    return e.builder.icmp_signed(constraint.relation, left, right)


def magnitude(e: Emission, dim: Dim) -> LLVMValue:
    """An upper bound, in floating point, on every number met while `dim` is computed."""
    real = ir.DoubleType()
    if isinstance(dim, int):
        return constant(real, float(abs(dim)))
    total = constant(real, 0.0)
    for monomial, coefficient in dim.terms:
        term = constant(real, float(abs(coefficient)))
        for atom in monomial:
            factor = _atom_magnitude(e, atom)
            # A factor below 1 must not hide a large product of the others.
            one = constant(real, 1.0)
            factor = e.builder.select(e.builder.fcmp_ordered("<", factor, one), one, factor)
            term = e.builder.fmul(term, factor)
        total = e.builder.fadd(total, term)
    return total


def _atom_magnitude(e: Emission, atom: Atom) -> LLVMValue:
    if atom.function == "symbol":
        value = materialise(e, e.variables[atom.name])
        return e.builder.sitofp(value, ir.DoubleType())
    left, right = magnitude(e, atom.left), magnitude(e, atom.right)
    if atom.function == "floordiv" and isinstance(atom.right, int):
        return e.builder.fmul(left, constant(ir.DoubleType(), 1.0 / abs(atom.right)))
    if atom.function == "mod" and isinstance(atom.right, int):
        return right
    return e.builder.fadd(left, right)
