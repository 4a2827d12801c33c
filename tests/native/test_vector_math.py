"""The mathematical functions of native kernels against float64 and longdouble references, in ulps.

f32: a stride through all bit patterns, dense runs around the points where a formula changes, and
every special value, for vectors and scalars and for machines with and without FMA. f64: samples of
every exponent.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from stepwell.codegen.math import FUNCTIONS, MathTarget, coefficients, emit, formats
from stepwell.codegen.math.fit import FITS, Fit, solve

Array = np.ndarray

SPECIAL = (0.0, 1.0, 2.0, 0.5, 3.0, 1.5, 2.5, np.inf, np.nan)
STRIDE = 12_289  # prime: 349,497 of the 2^32 patterns
UNARY = [name for name in FUNCTIONS if name != "pow"]


@dataclass(frozen=True)
class Machine:
    """A processor to generate code for, and the bits of its vectors (0: scalar code)."""

    name: str
    cpu: str
    features: str
    vector_bits: int


def _host() -> list[Machine]:
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features()
    width = 512 if features.get("avx512f") else 256 if features.get("avx2") else 128
    text = features.flatten()
    machines = [Machine("host", cpu, text, width), Machine("host-scalar", cpu, text, 0)]
    if features.get("avx2") and features.get("fma"):
        machines.append(Machine("avx2", "x86-64-v3", "+avx2,+fma", 256))
    if features.get("sse4.2"):
        machines.append(Machine("sse4.2", "x86-64-v2", "+sse4.2", 128))
    return machines


llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
MACHINES = _host()


@functools.cache
def compiled(name: str, dtype: type, machine: Machine) -> Callable[..., Array]:
    """A function on arrays of `dtype`, any length, that runs `name` over them on `machine`."""
    operands = 2 if name == "pow" else 1
    bits = np.dtype(dtype).itemsize * 8
    lanes = max(machine.vector_bits // bits, 1)
    engine, address = _jit(_kernel(name, operands, bits, lanes, machine), machine)
    kernel = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (operands + 1), ctypes.c_int64)(address)

    def run(*arrays: Array) -> Array:
        assert engine  # keeps the code alive
        size = arrays[0].size
        padded = [np.resize(a.astype(dtype, copy=False), -(-size // lanes) * lanes) for a in arrays]
        out = np.empty_like(padded[0])
        kernel(*(a.ctypes.data for a in padded), out.ctypes.data, out.size)
        return out[:size]

    return run


def _kernel(name: str, operands: int, bits: int, lanes: int, machine: Machine) -> ir.Module:
    """void kernel(in..., out, n): a loop over n elements, `lanes` at a time."""
    module = ir.Module()
    i64, pointer = ir.IntType(64), ir.PointerType()
    real = ir.FloatType() if bits == 32 else ir.DoubleType()
    kind = real if machine.vector_bits == 0 else ir.VectorType(real, lanes)
    signature = ir.FunctionType(ir.VoidType(), [pointer] * (operands + 1) + [i64])
    function = ir.Function(module, signature, "kernel")
    *inputs, out, count = function.args
    entry, loop, done = map(function.append_basic_block, ("entry", "loop", "done"))
    ir.IRBuilder(entry).branch(loop)
    builder = ir.IRBuilder(loop)
    index = builder.phi(i64)
    index.add_incoming(i64(0), entry)
    places = [builder.gep(p, [index], source_etype=real) for p in (*inputs, out)]
    values = [builder.load(p, typ=kind, align=bits // 8) for p in places[:-1]]
    features = set(machine.features.split(","))
    target = MathTarget("+fma" in features, {"+avx512f", "+avx512vl"} <= features)
    builder.store(emit(builder, name, values, target), places[-1], align=bits // 8)
    following = builder.add(index, i64(lanes))
    index.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
    ir.IRBuilder(done).ret_void()
    return module


def _optimised(
    module: ir.Module, machine: Machine, jit: bool
) -> tuple[llvm.ModuleRef, llvm.TargetMachine]:
    module.triple = llvm.get_process_triple()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    target = llvm.Target.from_triple(module.triple).create_target_machine(
        cpu=machine.cpu,
        features=machine.features,
        opt=3,
        jit=jit,
        reloc="default" if jit else "pic",
    )
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(3))
    builder.getModulePassManager().run(parsed, builder)
    return parsed, target


def _jit(module: ir.Module, machine: Machine) -> tuple[llvm.ExecutionEngine, int]:
    engine = llvm.create_mcjit_compiler(*_optimised(module, machine, jit=True))
    engine.finalize_object()
    return engine, engine.get_function_address("kernel")


REFERENCES: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sigmoid": lambda x: np.where(x < 0, np.exp(x), 1) / (1 + np.exp(-abs(x))),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "pow": np.power,
}


def ulps(got: Array, wanted: Array) -> Array:
    """|got - wanted| in units in the last place of got's type; infinite where the kind differs."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = wanted.astype(got.dtype)
        _, exponent = np.frexp(abs(wanted))
        ulp = np.ldexp(wanted.dtype.type(1), np.maximum(exponent - 1, info.minexp) - info.nmant)
        error = abs(got.astype(wanted.dtype) - wanted) / ulp
        top = abs(got.astype(wanted.dtype)) == info.max
    same = (got == rounded) & ((got != 0) | (np.signbit(got) == np.signbit(rounded)))
    same |= np.isnan(got) & np.isnan(rounded)
    finite = np.isfinite(got) & np.isfinite(rounded) | top
    finite &= (got != 0) | (np.signbit(got) == np.signbit(wanted))
    return np.where(same & ~np.isfinite(rounded), 0, np.where(finite, error, np.inf))


def assert_close(
    name: str, arguments: tuple[Array, ...], got: Array, wide: type, bound: float
) -> None:
    with np.errstate(all="ignore"):
        wanted = REFERENCES[name](*(a.astype(wide) for a in arguments))
    error = ulps(got, wanted)
    worst = int(np.argmax(error))
    shown = ", ".join(float(a[worst]).hex() for a in arguments)
    assert error[worst] <= bound, (
        f"{name}({shown}) = {got[worst]!r}, not {wanted[worst]!r}: {error[worst]:.2f} ulp"
    )


@functools.cache
def f32_samples() -> Array:
    """The stride, special values, all floats near powers of two and seams of the formulas."""
    everywhere = np.arange(0, 2**32, STRIDE, dtype=np.uint64).astype(np.uint32).view(np.float32)
    seams = [1.17, 0.625, 16.6874, 3.93, 9.05, 18.0, 87.34, 88.73, 89.0, 103.3, 103.98, 104.0]
    seams += [0.35, 0.7071, 1.4142, 128.0, 126.0, 149.0, 150.0, 512.0, 2.0**17, 0, 1e-45, 1e-38]
    seams += [np.pi, np.pi / 2, np.pi / 4, *(2.0**k for k in range(-149, 128, 4))]
    seams += [1.3980646, 295.2472, 403.44357]  # Where log2, sin, cos were wrong once, without FMA.
    near = np.arange(-500, 501)
    bits = np.array(seams, np.float32).view(np.int32)[:, None] + near
    dense = np.maximum(bits, 0).ravel().astype(np.uint32).view(np.float32)
    special = np.array(SPECIAL, np.float32)
    return np.concatenate([everywhere, dense, -dense, special, -special])


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
@pytest.mark.parametrize("name", UNARY)
def test_f32_is_within_2_ulp(name: str, machine: Machine) -> None:
    x = f32_samples()
    assert_close(name, (x,), compiled(name, np.float32, machine)(x), np.float64, 2.0)


@functools.cache
def f64_samples() -> Array:
    """Random fractions under every exponent, denser where the functions are not yet constant."""
    rng = np.random.default_rng(7)
    bits = rng.integers(0, 2**64, 40_000, dtype=np.uint64)
    spread = rng.uniform(-1, 1, 40_000) * np.repeat(
        [1.0, 6.0, 40.0, 750.0, 1e6, 1e9, 1e22, 1e-5], 5000
    )
    special = np.array(SPECIAL)
    tiny = np.array([5e-324, 1e-310, 2.2e-308, 1.7e308, 709.78, 745.13, 744.44, 708.4])
    return np.concatenate([bits.view(np.float64), spread, special, -special, tiny, -tiny])


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
@pytest.mark.parametrize("name", UNARY)
def test_f64_is_within_4_ulp(name: str, machine: Machine) -> None:
    x = f64_samples()
    assert_close(name, (x,), compiled(name, np.float64, machine)(x), np.longdouble, 4.0)


@functools.cache
def power_samples(dtype: type) -> tuple[Array, Array]:
    """Random bits, exponents that bring the result into range, integers, all special pairs."""
    rng = np.random.default_rng(11)
    kind = np.uint32 if dtype is np.float32 else np.uint64
    x, y = (
        rng.integers(0, 2 ** (8 * dtype(0).itemsize), 50_000, dtype=kind).view(dtype) for _ in "xy"
    )
    with np.errstate(all="ignore"):
        limit = 150 if dtype is np.float32 else 1080
        fitting = rng.uniform(-limit, limit, x.size) / np.log2(abs(x).astype(np.float64))
    whole = rng.integers(-40, 40, x.size)
    close = 1 + rng.uniform(-1, 1, x.size) * 2.0 ** -rng.integers(1, 24, x.size)
    close_exponent = rng.uniform(-limit, limit, x.size) / np.log2(close)
    values = [*SPECIAL, 1e-310, 1e-40, 1e38, 2.0**24 + 1, 2.0**24 + 2, 2.0**53, 0.3, 1 - 2.0**-20]
    with np.errstate(all="ignore"):
        special = np.array([*values, *(-v for v in values)]).astype(dtype)
    bases = [x, x, x, close]
    exponents = [y, fitting, whole, close_exponent]
    for base, exponent in itertools.product(special, special):
        bases.append(base)
        exponents.append(exponent)
    with np.errstate(all="ignore"):
        return np.hstack(bases).astype(dtype), np.hstack(exponents).astype(dtype)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
@pytest.mark.parametrize(
    ("dtype", "wide", "bound"), [(np.float32, np.float64, 2.0), (np.float64, np.longdouble, 4.0)]
)
def test_power_is_numpys(dtype: type, wide: type, bound: float, machine: Machine) -> None:
    x, y = power_samples(dtype)
    assert_close("pow", (x, y), compiled("pow", dtype, machine)(x, y), wide, bound)


@pytest.mark.parametrize("lanes", [1, 3, 7, 32])
def test_any_number_of_lanes(lanes: int) -> None:
    odd = Machine(f"{lanes} lanes", MACHINES[0].cpu, MACHINES[0].features, 32 * lanes)
    x = np.linspace(-3e5, 3e5, 10_000, dtype=np.float32)
    for name in ("exp", "sin", "erf"):
        assert_close(name, (x,), compiled(name, np.float32, odd)(x), np.float64, 2.0)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_library_is_called(name: str, machine: Machine) -> None:
    for bits in (32, 64):
        lanes = max(machine.vector_bits // bits, 1)
        module, target = _optimised(
            _kernel(name, 2 if name == "pow" else 1, bits, lanes, machine), machine, jit=False
        )
        assembly = target.emit_assembly(module)
        assert not re.findall(r"(\w+)@(?:PLT|GOTPCREL)", assembly)


@pytest.mark.parametrize("fits", FITS, ids=lambda fits: fits[0].name)
def test_coefficients_are_those_of_the_fit(fits: tuple[Fit, ...]) -> None:
    """The table holds what `fit.py` derives; the long fits for f64 are left to its users."""
    for fit in fits:
        if fit.degree <= 12:
            stored = getattr(coefficients, fit.name)[getattr(formats, fit.format)]
            assert stored == solve(fit)[0]


def test_other_types_are_refused() -> None:
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.IntType(32)]), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    with pytest.raises(TypeError, match="f32 and f64"):
        emit(builder, "exp", [function.args[0]], MathTarget())
