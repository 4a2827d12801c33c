"""Operators and conversions on every dtype: native code gives what the definition says."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from functools import cache

import ml_dtypes
import numpy as np
import pytest
from loop_build import interpreted, kernel_program, machines, run

from stepwell.codegen.compile import assembly, compiled, optimised_text, parsed
from stepwell.codegen.llvm import llvm_text
from stepwell.codegen.undefined import foreign_symbols
from stepwell.ir.diagnostics import InternalError
from stepwell.ir.dtypes import ALL, BY_NAME
from stepwell.ir.target import named

MACHINES = {target.name: target for target in machines()}
NAMES = list(MACHINES)
FLOATS, INTS = ("f64", "f32"), ("i64", "i32", "i16", "i8", "u8")


def specials(name, count=64):
    """Numbers of a dtype with its edges, `count` of them (a multiple of 16)."""
    dtype = BY_NAME[name]
    random = np.random.default_rng(3)
    if dtype.is_bool:
        return random.integers(0, 2, count).astype(bool)
    if dtype.is_int:
        edges = [0, 1, 2, 3, 7, 8, 100, dtype.lowest, dtype.lowest + 1, dtype.highest]
        edges += [-1, -2, -3, -7, -8, -100] if dtype.signed else [200, 255]
        rest = random.integers(dtype.lowest, dtype.highest, count - len(edges), endpoint=True)
        return np.concatenate([np.array(edges, object), rest]).astype(dtype.numpy)
    edges = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3.5, np.inf, -np.inf, np.nan, 1e-40, -1e-40]
    edges += [0.49999997, 8388607.5, 4503599627370495.5, 1e30, -1e30, 65504.0, 65520.0]
    rest = random.standard_normal(count - len(edges)) * 10
    with np.errstate(all="ignore"):
        return np.concatenate([edges, rest]).astype(dtype.numpy)


def pairs(name):
    """All pairs of a few numbers of a dtype: two arrays."""
    few = specials(name)[:16] if not BY_NAME[name].is_bool else np.array([False, True] * 8)
    x, y = zip(*itertools.product(few, few), strict=True)
    return np.array(x), np.array(y)


def elementwise(expression, inputs, output, lanes=16):
    """A kernel `out[i] = expression` over inputs x0, x1, …"""
    return kernel_text(inputs, {"out": output}, [loop_text(expression, "out", lanes)])


def kernel_text(inputs, outputs, loops):
    parameters = [f"x{i}: {d}[N] in" for i, d in enumerate(inputs)]
    parameters += [f"{name}: {d}[N] out" for name, d in outputs.items()]
    body = "\n".join(loops)
    return f"kernel each[N]({', '.join(parameters)}) pointwise {{\n{body} }}"


def loop_text(expression, out, lanes):
    i, place = f"i_{out}", f"{lanes}*i_{out} + l_{out}" if lanes > 1 else f"i_{out}"
    names = re.sub(r"\b(x\d)\b", rf"\1[{place}]", expression)
    inner = f"{out}[{place}] = {names}"
    if lanes > 1:
        inner = f"for l_{out} in 0..{lanes} vector {{ {inner} }}"
    return f"for {i} in 0..N // {lanes} {{ {inner} }}"


def compare(results, inputs, target, *arrays, tolerance=0.0):
    """Expressions, each with the dtype of its result, all in one kernel: on vectors and on scalars
    what the interpreter gives."""

    def program(widths):
        outs = {f"out{n}_{w}": (e, w) for n, e in enumerate(results) for w in widths}
        dtypes = {out: results[expression] for out, (expression, _) in outs.items()}
        loops = [loop_text(e, out, w) for out, (e, w) in outs.items()]
        return kernel_program(kernel_text(inputs, dtypes, loops))

    named = {f"x{i}": array for i, array in enumerate(arrays)}
    sizes = {"N": len(arrays[0])}
    wanted = interpreted(program((16,)), sizes, named)
    found = run(program((16, 1)), sizes, named, MACHINES[target])
    for number, expression in enumerate(results):
        for width in (16, 1):
            result = found[f"out{number}_{width}"]
            same_numbers(result, wanted[f"out{number}_16"], tolerance, expression, named)


def same_numbers(found, expected, tolerance, expression, named):
    if found.dtype == ml_dtypes.bfloat16 or found.dtype.kind == "f":
        with np.errstate(all="ignore"):
            found, expected = found.astype(np.float64), expected.astype(np.float64)
        np.testing.assert_allclose(
            found, expected, rtol=tolerance, atol=0, err_msg=f"{expression}: {named}"
        )
        zero = expected == 0
        if not tolerance:
            assert (np.signbit(found) == np.signbit(expected))[zero].all(), expression
    else:
        wrong = np.flatnonzero(found != expected)
        about = [{n: a[i] for n, a in named.items()} for i in wrong[:3]]
        assert not len(wrong), (expression, about, found[wrong[:3]], expected[wrong[:3]])


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", [dtype.name for dtype in ALL])
def test_casts(source, target):
    results = {f"{result}(x0)": result.name for result in ALL if result.name != source}
    compare(results, [source], target, specials(source))


@pytest.mark.parametrize("target", NAMES)
def test_every_half_converts(target):
    bits = np.arange(2**16, dtype=np.uint16)
    for half, view in (("f16", np.float16), ("bf16", ml_dtypes.bfloat16)):
        x = bits.view(view)
        compare({"f32(x0)": "f32"}, [half], target, x)
        wide = run(kernel_program(elementwise("f32(x0)", [half], "f32")), {"N": 2**16},
                   {"x0": x}, MACHINES[target])["out"]  # fmt: skip
        back = run(kernel_program(elementwise(f"{half}(x0)", ["f32"], half)), {"N": 2**16},
                   {"x0": wide}, MACHINES[target])["out"]  # fmt: skip
        same = back.view(np.uint16) == bits
        assert (same | np.isnan(x.astype(np.float32))).all()
        assert np.isnan(back.astype(np.float32)[~same]).all()


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("half", ["f16", "bf16"])
def test_rounding_to_half(half, target):
    """Numbers halfway between, a little more, a little less, and tiny: to nearest even."""
    view = BY_NAME[half].numpy
    near = np.arange(0, 2**15 - 1, 7, dtype=np.uint16)
    low, high = near.view(view).astype(np.float32), (near + 1).astype(np.uint16).view(view)
    with np.errstate(all="ignore"):
        middle = (low.astype(np.float64) + high.astype(np.float64)) / 2
    middle = middle[np.isfinite(middle)]
    middle = middle[: len(middle) // 16 * 16]
    single = middle.astype(np.float32)
    for x in (single, np.nextafter(single, np.float32(0)), np.nextafter(single, np.float32(9e9))):
        program = kernel_program(elementwise(f"{half}(x0)", ["f32"], half))
        found = run(program, {"N": len(x)}, {"x0": x}, MACHINES[target])["out"]
        np.testing.assert_array_equal(found.view(np.uint16), x.astype(view).view(np.uint16))
    double = kernel_program(elementwise(f"{half}(x0)", ["f64"], half))
    for x in (middle, np.nextafter(middle, 0), np.nextafter(middle, 1e300)):
        found = run(double, {"N": len(x)}, {"x0": x}, MACHINES[target])["out"]
        expected = interpreted(double, {"N": len(x)}, {"x0": x})["out"]
        np.testing.assert_array_equal(found.view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("dtype", INTS)
def test_integer_arithmetic(dtype, target):
    x, y = pairs(dtype)
    small = np.clip(y.astype(np.int64), -3 if dtype != "u8" else 0, 100).astype(y.dtype)
    ops = ["x0 + x1", "x0 - x1", "x0 * x1", "x0 // x1", "x0 % x1", "min(x0, x1)", "max(x0, x1)",
           "x0 and x1", "x0 or x1", "x0 xor x1", "pow(x0, x2)"]  # fmt: skip
    for constant in (1, 3, 8) + ((-1, -3, -8) if dtype != "u8" else ()):
        text = f"{constant}_{dtype}" if dtype != "i64" else f"{constant}"
        ops += [f"x0 // ({text})", f"x0 % ({text})"]
    compare(dict.fromkeys(ops, dtype), [dtype] * 3, target, x, y, small)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, "bool"])
def test_comparisons(dtype, target):
    x, y = pairs(dtype)
    ops = [f"x0 {op} x1" for op in ("==", "!=", "<", "<=", ">", ">=")]
    compare(dict.fromkeys(ops, "bool"), [dtype, dtype], target, x, y)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_float_arithmetic(dtype, target):
    x, y = (np.concatenate([a, a[::-1]]) for a in pairs(dtype))
    ops = ("x0 + x1", "x0 - x1", "x0 * x1", "x0 / x1", "select(x0 < x1, x0, x1)")
    compare(dict.fromkeys(ops, dtype), [dtype, dtype], target, x, y)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_min_and_max_keep_nan(dtype, target):
    """The sign of a zero aside."""
    x, y = pairs(dtype)
    suffix = "" if dtype == "f32" else "_f64"
    for op in ("min", "max"):
        function = np.minimum if op == "min" else np.maximum
        for expression, other in (
            (f"{op}(x0, x1)", y), (f"{op}(x0, 0.5{suffix})", 0.5), (f"{op}(0.5{suffix}, x0)", 0.5),
        ):  # fmt: skip
            for lanes in (16, 1):
                program = kernel_program(elementwise(expression, [dtype, dtype], dtype, lanes))
                found = run(program, {"N": len(x)}, {"x0": x, "x1": y}, MACHINES[target])["out"]
                np.testing.assert_array_equal(found, function(x, np.asarray(other, x.dtype)))


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_float_floor_division(dtype, target):
    """Exact where the quotient fits the fraction, as the definition has it."""
    values = [0.0, 1.0, -1.0, 0.5, 5.0, -5.0, 7.25, 0.3, -0.3, 100.0, 1e6, 3.0]
    pairs = [(a, b) for a in values for b in [*values[1:], np.inf, -np.inf]]
    numbers = np.array(pairs[: len(pairs) // 16 * 16], BY_NAME[dtype].numpy)
    x, y = np.ascontiguousarray(numbers[:, 0]), np.ascontiguousarray(numbers[:, 1])
    compare({"x0 // x1": dtype}, [dtype, dtype], target, x, y, tolerance=1e-6)
    program = kernel_program(elementwise("x0 % x1", [dtype, dtype], dtype))
    found = run(program, {"N": len(x)}, {"x0": x, "x1": y}, MACHINES[target])["out"]
    expected = np.mod(x, y)
    scale = np.finfo(x.dtype).eps * np.maximum(np.abs(x), np.abs(np.where(np.isinf(y), 0, y)))
    infinite = np.isinf(y)
    assert (np.abs(found[~infinite] - expected[~infinite]) <= scale[~infinite]).all()
    np.testing.assert_array_equal(found[infinite], expected[infinite])


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["floor", "ceil", "round", "trunc", "abs", "sign", "sqrt", "neg"])
def test_exact_functions(dtype, op, target):
    x = specials(dtype)
    text = "-x0" if op == "neg" else f"{op}(x0)"
    compare({text: dtype}, [dtype], target, x)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_predicates(dtype, target):
    ops = ("is_nan(x0)", "is_finite(x0)")
    compare(dict.fromkeys(ops, "bool"), [dtype], target, specials(dtype))


@pytest.mark.parametrize("target", NAMES)
def test_random_bits(target):
    """Bit for bit the same on every machine, on vectors and on scalars."""
    x, y = pairs("i64")
    words = [f"philox(x0, x1, x2, {word}) + philox(5, x1, 7, {word})" for word in range(4)]
    compare(dict.fromkeys(words, "i32"), ["i64"] * 3, target, x, y, x[::-1].copy())


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("dtype", INTS)
def test_integer_functions(dtype, target):
    ops = ("abs(x0)", "sign(x0)", "-x0", "not x0")
    compare(dict.fromkeys(ops, dtype), [dtype], target, specials(dtype))


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_maths_functions(dtype, target):
    """Accuracy is tested with the functions; here, that each is reached and called right."""
    x = specials(dtype)
    with np.errstate(all="ignore"):
        bounded = np.clip(x, -1e6, 1e6)
        positive = np.abs(x) + BY_NAME[dtype].numpy.type(1e-3)
        functions = ("exp", "exp2", "expm1", "log", "log2", "log1p", "tanh", "sigmoid", "erf")
        ops = [f"{name}(x0)" for name in functions]
        ops += ["sin(x1)", "cos(x1)", "rsqrt(x2)", "pow(x3, x4)"]
        arrays = (x, bounded, positive, np.abs(x), x[::-1].copy())
        compare(dict.fromkeys(ops, dtype), [dtype] * len(arrays), target, *arrays,
                tolerance=1e-6 if dtype == "f32" else 1e-14)  # fmt: skip


@cache
def every_operator():
    """One kernel text per operator and dtype, vector and scalar."""
    texts = []
    unary = ["exp", "exp2", "expm1", "log", "log2", "log1p", "sqrt", "rsqrt", "sin", "cos", "tanh",
             "sigmoid", "erf", "floor", "ceil", "round", "trunc", "abs", "sign"]  # fmt: skip
    for dtype in ("f64", "f32", "f16", "bf16"):
        compute = "f64" if dtype == "f64" else "f32"
        wrap = (lambda x: x) if dtype == compute else (lambda x: f"f32({x})")
        back = (lambda x: x) if dtype == compute else (lambda x, d=dtype: f"{d}({x})")
        for op in unary:
            texts.append((back(f"{op}({wrap('x0')})"), [dtype], dtype))
        for op in ("pow(A, B)", "A // B", "A % B", "min(A, B)", "A / B"):
            text = op.replace("A", wrap("x0")).replace("B", wrap("x1"))
            texts.append((back(text), [dtype, dtype], dtype))
    for dtype in INTS:
        for op in ("x0 * x1", "x0 // x1", "x0 % x1", "pow(x0, x1)"):
            texts.append((op, [dtype, dtype], dtype))
    for source, result in itertools.permutations([d.name for d in ALL], 2):
        texts.append((f"{result}(x0)", [source], result))
    return texts


def all_in_one(lanes):
    """A program with a kernel for each operator and dtype."""
    programs = []
    for number, (expression, inputs, output) in enumerate(every_operator()):
        text = elementwise(expression, inputs, output, lanes)
        programs.append(kernel_program(text.replace("kernel each", f"kernel each{number}")))
    buffers = {}
    calls = []
    for p in programs:
        names = []
        for item in p.buffers:
            name = f"{item.role}{len(names)}_{item.buffer.dtype}"
            buffers[name] = replace(item, buffer=replace(item.buffer, name=name))
            names.append(name)
        calls.append(replace(p.calls[0], arguments=tuple(names)))
    kernels = tuple(p.kernels[0] for p in programs)
    return replace(
        programs[0], buffers=tuple(buffers.values()), calls=tuple(calls), kernels=kernels
    )


@pytest.mark.parametrize("lanes", [8, 1])
@pytest.mark.parametrize("target", NAMES)
def test_no_runtime_library_is_called(target, lanes):
    """Whatever the operator, dtype and machine, the object calls memcpy and the like at most."""
    machine = MACHINES[target]
    made = compiled(llvm_text(all_in_one(lanes), machine), machine)
    assert foreign_symbols(made.needs, made.defines) == set()


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_relu_is_one_instruction(target):
    machine = named(target)
    relu = elementwise("max(x0, 0.0)", ["f32"], "f32", machine.lanes(BY_NAME["f32"]))
    text = llvm_text(kernel_program(relu), machine)
    code = assembly(text, machine).split("each.kernel.each:")[1].split(".cfi_endproc")[0]
    assert len(re.findall(r"\tv?max", code)) == 1
    assert "cmpunord" not in code and "blend" not in code


def test_products_are_fused_where_the_machine_can():
    for target in MACHINES.values():
        program = kernel_program(elementwise("x0 * x1 + x0", ["f32", "f32"], "f32"))
        text = optimised_text(llvm_text(program, target), target)
        assert ("llvm.fma" in text) == target.has_fma


def test_constants_are_checked_by_llvm():
    with pytest.raises(InternalError, match="bug in Stepwell: LLVM refuses"):
        parsed("define void @f() {\n  %x = add i32 %y, 1\n}")
