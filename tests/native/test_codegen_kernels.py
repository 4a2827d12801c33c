"""Kernels written as loop IR text: native code gives what the loop interpreter gives."""

from __future__ import annotations

import numpy as np
import pytest
from loop_build import call, interpreted, kernel_program, machines, run, workspace

from stepwell.codegen.compile import assembly
from stepwell.codegen.jit import NativeProgram
from stepwell.codegen.llvm import llvm_text
from stepwell.ir.target import named

MACHINES = {target.name: target for target in machines()}
NAMES = list(MACHINES)


def check(text, sizes, target, tolerance=0.0, **arrays):
    """Runs the kernel natively and interpreted."""
    program = kernel_program(text)
    expected = interpreted(program, sizes, arrays)
    found = run(program, sizes, arrays, MACHINES[target])
    for name, array in expected.items():
        if tolerance:
            wide = found[name].astype(np.float64), array.astype(np.float64)
            np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], array, err_msg=name)
    return found


def numbers(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


ADD = """
kernel add[N](x: f32[N] in, y: f32[N] in, out: f32[N] out) pointwise {
  for i in 0..(N + 15) // 16 {
    for l in 0..16 vector {
      if 16*i + l < N {
        out[16*i + l] = max(x[16*i + l] + y[16*i + l], 0.0)
      }
    }
  }
}
"""


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("n", [0, 1, 7, 15, 16, 17, 100])
def test_masked_tail(target, n):
    check(ADD, {"N": n}, target, x=numbers(n), y=numbers(n, seed=1))


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("total", ["hsum(acc)", "hsum(acc[0]) + 2.0 * hsum(acc[1])"])
def test_row_sums_are_in_registers(target, total):
    text = """
    kernel sums[N, K](x: f32[N, K] in, out: f32[N] out) reduction {
      for i in 0..N {
        alloc acc: f32[2, 8] register
        for a in 0..2 unrolled { for l in 0..8 vector { acc[a, l] = 0.0 } }
        for k in 0..K // 16 {
          for b in 0..2 unrolled {
            for m in 0..8 vector { acc[b, m] = acc[b, m] + x[i, 16*k + 8*b + m] }
          }
        }
        out[i] = TOTAL
      }
    }
    """.replace("TOTAL", total)
    for k in (0, 16, 64):
        check(text, {"N": 5, "K": k}, target, x=numbers(5, k))


@pytest.mark.parametrize("target", NAMES)
def test_register_tiled_matmul(target):
    text = """
    kernel tile[K](a: f32[K, 6] in, b: f32[K, 16] in, c: f32[6, 16] out) contraction {
      alloc acc: f32[6, 2, 8] register
      for i in 0..6 unrolled { for j in 0..2 unrolled { for l in 0..8 vector {
        acc[i, j, l] = 0.0
      } } }
      for k in 0..K {
        for i_1 in 0..6 unrolled {
          let s: f32 = a[k, i_1]
          for j_1 in 0..2 unrolled { for l_1 in 0..8 vector {
            acc[i_1, j_1, l_1] = acc[i_1, j_1, l_1] + s * b[k, 8*j_1 + l_1]
          } }
        }
      }
      for i_2 in 0..6 unrolled { for j_2 in 0..2 unrolled { for l_2 in 0..8 vector {
        c[i_2, 8*j_2 + l_2] = acc[i_2, j_2, l_2]
      } } }
    }
    """
    check(text, {"K": 37}, target, 1e-5, a=numbers(37, 6), b=numbers(37, 16))


@pytest.mark.parametrize("target", NAMES)
def test_registers_merge_at_branches_and_loops(target):
    text = """
    kernel branches[N](x: f32[N] in, out: f32[3] out) reduction {
      alloc r: f32[3] register
      r[0] = 0.0
      r[1] = 1.0
      r[2] = 2.0
      for i in 0..N {
        if x[i] > 0.5 {
          r[0] = r[0] + x[i]
        } else {
          if x[i] < -0.5 { r[1] = r[1] * 2.0 }
          for j in 0..i { r[2] = r[2] + 1.0 }
        }
      }
      out[0] = r[0]
      out[1] = r[1]
      out[2] = r[2]
    }
    """
    for n in (0, 1, 9):
        check(text, {"N": n}, target, x=numbers(n))


@pytest.mark.parametrize("target", NAMES)
def test_masks_nest_and_keep_registers(target):
    text = """
    kernel masks[N](x: f32[N] in, out: f32[16] out, last: f32 out) pointwise {
      alloc r: f32[16] register
      alloc s: f32 register
      s[] = -1.0
      for k in 0..16 vector { r[k] = 3.0 }
      for l in 0..16 vector {
        if l < N {
          if x[l] > 0.0 {
            r[l] = x[l]
            s[] = x[l]
          } else {
            r[l] = -x[l] * 2.0
          }
        }
      }
      for m in 0..16 vector { out[m] = r[m] }
      last[] = s[]
    }
    """
    for n in (0, 5, 16):
        check(text, {"N": n}, target, x=numbers(n))


@pytest.mark.parametrize("target", NAMES)
def test_guards_are_zero_and_unread(target):
    text = """
    kernel shift[N](x: f32[N] in, i: i64[N] in, a: f32[N] out, b: f32[N] out, c: f32[N] out)
        pointwise {
      for j in 0..N {
        a[j] = x[j - 3 | j >= 3]
        b[j] = x[i[j + 1 | j + 1 < N] | j + 1 < N]
      }
      for t in 0..N // 8 {
        for l in 0..8 vector {
          c[8*t + l] = x[8*t + l - 3 | 8*t + l >= 3] + x[8*t | t > 0]
        }
      }
      for u in 0..N % 8 { c[N // 8 * 8 + u] = 1.0 }
    }
    """
    for n in (0, 2, 16, 21):
        indices = np.arange(n)[::-1].copy()
        check(text, {"N": n}, target, x=numbers(n), i=indices)


@pytest.mark.parametrize("target", NAMES)
def test_strided_backward_gathered_and_scattered(target):
    text = """
    kernel strides[N](x: f32[8, 8*N] in, p: i64[8] in, twice: f32[8] out, back: f32[8] out,
        thrice: f32[8] out, column: f32[8] out, any: f32[8] out, into: f32[8, N] out,
        there: f32[8] out) pointwise {
      for l in 0..8 vector {
        twice[l] = x[0, 2*l + 1]
        back[l] = x[0, 9 - l]
        thrice[l] = x[0, 3*l]
        column[l] = x[l, N]
        any[l] = x[p[l], l]
        into[l, N - 1] = x[0, l]
        there[p[l]] = x[0, l]
      }
    }
    """
    p = np.array([3, 1, 4, 0, 5, 2, 6, 7])
    check(text, {"N": 3}, target, x=numbers(8, 24), p=p)


@pytest.mark.parametrize("target", NAMES)
def test_lane_comparisons(target):
    lines, outputs = [], []
    tests = [
        ("l < N", "lt"), ("l <= N", "le"), ("l > N", "gt"), ("l >= N", "ge"), ("l == N", "eq"),
        ("l != N", "ne"), ("N < l", "tl"), ("N - l >= 3", "back"), ("2*l < N", "twice"),
        ("l % 3 == 1", "mod"), ("l // 2 < N", "div"), ("N - l == 4", "same"),
    ]  # fmt: skip
    for condition, name in tests:
        outputs.append(f"{name}: f32[8] out")
        lines.append(f"{name}[l] = select({condition}, 1.0, 2.0)")
    text = (
        f"kernel compare[N]({', '.join(outputs)}) pointwise {{ for l in 0..8 vector {{\n"
        + "\n".join(lines)
        + "\n} }"
    )
    for n in (0, 1, 4, 7, 8, 9, 1000):
        check(text, {"N": n}, target)


@pytest.mark.parametrize("target", NAMES)
def test_scratch_buffers_with_symbolic_sizes(target):
    text = """
    kernel softmax[N](x: f32[N] in, out: f32[N] out) reduction {
      alloc row: f32[N] scratch
      alloc more: f64[N + 1, 2] scratch
      alloc s: f32 register
      s[] = 0.0
      for i in 0..N {
        row[i] = x[i] * x[i]
        more[i + 1, 1] = f64(x[i])
        s[] = s[] + row[i]
      }
      for j in 0..N { out[j] = row[j] / s[] + f32(more[j + 1, 1]) }
    }
    """
    for n in (0, 1, 33):
        check(text, {"N": n}, target, 1e-6, x=numbers(n))


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("kind", ["sum", "prod", "max", "min"])
@pytest.mark.parametrize("shape", ["16", "2, 8", "8, 4", "1"])
def test_horizontal(target, kind, shape):
    rows = [int(n) for n in shape.split(",")]
    index = "l" if len(rows) == 1 else "a, l"
    body = f"for l in 0..{rows[-1]} vector {{ r[{index}] = x[{index}] }}"
    if len(rows) == 2:
        body = f"for a in 0..{rows[0]} unrolled {{ {body} }}"
    text = f"""
    kernel across(x: f32[{shape}] in, out: f32 out) reduction {{
      alloc r: f32[{shape}] register
      {body}
      out[] = h{kind}(r)
    }}
    """
    check(text, {}, target, x=numbers(*rows))


@pytest.mark.parametrize("target", NAMES)
def test_bool_registers_and_logic(target):
    text = """
    kernel logic(x: f32[16] in, b: bool[16] in, out: bool[16] out, any: bool out, all: bool out)
        reduction {
      alloc r: bool[16] register
      for l in 0..16 vector {
        r[l] = x[l] > 0.0 and b[l] or not b[l] and x[l] < -0.5
        out[l] = r[l] xor b[l]
      }
      any[] = hany(r)
      all[] = hall(r)
    }
    """
    b = np.arange(16) % 3 == 0
    check(text, {}, target, x=numbers(16), b=b)
    check(text, {}, target, x=np.full(16, 2, np.float32), b=np.ones(16, bool))


@pytest.mark.parametrize("target", NAMES)
def test_indices_are_numbers(target):
    text = """
    kernel ramp[N](out: f32[N, 8] out, i: i64[N, 8] out) pointwise {
      for n in 0..N {
        for l in 0..8 vector {
          let p: i64 = (8*n + l) * (n - 3)
          out[n, l] = f32(p) * 0.5
          i[n, l] = p % 7 + -p // 4 + max(p, l) - min(n, l) + p * p
        }
      }
    }
    """
    check(text, {"N": 6}, target)


@pytest.mark.parametrize("target", NAMES)
def test_lanes_divide(target):
    lines, outputs = [], []
    divisions = [
        "(8*n + l) // 112", "(8*n + l) % 112", "(8*n + l) // 3", "(8*n + l) % 3", "(8*n + l) % 8",
        "(8*n + l) // 8", "(l - 100*n) // 7", "(l - 100*n) % 7", "(n - 20*l) // 7",
        "(n - 20*l) % 7", "(n + 20*l) // 7", "(n + 20*l) % 7", "(8*n + l) // N", "(8*n + l) % N",
        "(8*n + l) // 3 % 5", "N // (l + n)", "N % l", "N // l", "(8*n + l) // Z", "(8*n + l) % Z",
        "(l - n) // N", "(l - n) % (n - 3)",
    ]  # fmt: skip
    for number, division in enumerate(divisions):
        outputs.append(f"y{number}: i64[50, 8] out")
        lines.append(f"y{number}[n, l] = {division}")
    text = (
        f"kernel divide[N, Z]({', '.join(outputs)}) pointwise {{\n"
        "for n in 0..50 { for l in 0..8 vector {\n" + "\n".join(lines) + "\n} } }"
    )
    for n in (1, 5, 57, 400, 2**40 + 3):
        check(text, {"N": n, "Z": 0}, target)


@pytest.mark.parametrize("target", NAMES)
def test_checks_report(target):
    text = """
    kernel gather[N](x: f32[N] in, i: i64[8] in, out: f32[8] out) pointwise {
      for l in 0..8 vector {
        check i[l] >= 0 and i[l] < N, "subscript out of range"
        out[l] = x[i[l]]
      }
      for k in 0..N { check x[k] == x[k], "a number is NaN" }
    }
    """
    program = kernel_program(text)
    native = NativeProgram.compile(program, MACHINES[target])
    x, i = numbers(10), np.arange(8)
    np.testing.assert_array_equal(call(native, program, {"N": 10}, {"x": x, "i": i})["out"], x[:8])
    out = np.zeros(8, np.float32)

    def message(x, i):
        status = native.run([10], [x.ctypes.data, i.ctypes.data], [out.ctypes.data], 0, 0)
        return native.error_message(status)

    assert message(x, i) == "ok"
    for wrong in (-1, 10, 2**62):
        assert message(x, np.where(i == 5, wrong, i)) == "subscript out of range"
    assert message(np.where(i[:1] == 0, np.float32("nan"), x), i) == "a number is NaN"


@pytest.mark.parametrize("target", NAMES)
def test_extents_depend_on_outer_indices(target):
    text = """
    kernel triangle[N](out: i64[N] out) pointwise {
      alloc s: i64 register
      for i in 0..N {
        s[] = 0
        for j in 0..i { for k in 0..N - j { s[] = s[] + j * k } }
        for j_1 in 0..N - 2*i { s[] = s[] + 1000 }
        out[i] = s[]
      }
    }
    """
    check(text, {"N": 9}, target)


@pytest.mark.parametrize("n", [1, 2, 4, 32, 64])
def test_vector_lengths(n):
    text = f"""
    kernel lanes(x: f32[{n}] in, i: i8[{n}] in, out: f32[{n}] out, j: i8[{n}] out) pointwise {{
      for l in 0..{n} vector {{
        if x[l] > 0.0 {{
          out[l] = x[l] * 2.0
          j[l] = i[l] + i[l]
        }}
      }}
    }}
    """
    for target in NAMES:
        check(text, {}, target, x=numbers(n), i=np.arange(n, dtype=np.int8) * 3)


STREAMED = """
kernel twice(x: f32[2, 72] in, out: f32[2, 72] out) pointwise {
  for i in 0..2 {
    for k in 0..4 {
      for l in 0..16 vector { out[i, 16*k + l] = x[i, 16*k + l] * 2.0 stream }
    }
    for m in 0..8 vector { out[i, 64 + m] = x[i, 64 + m] * 2.0 }
  }
}
"""


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("shift", [0, 4, 32])
def test_streamed_stores_at_any_address(target, shift):
    """`shift` bytes behind the address of a line; the rows' addresses differ by half a line."""
    native = NativeProgram.compile(kernel_program(STREAMED), MACHINES[target])
    x, memory = numbers(2, 72), workspace(2 * 72 * 4 + 64)
    out = memory[shift : shift + x.nbytes].view(np.float32).reshape(x.shape)
    place = workspace(64).ctypes.data
    assert native.run([], [x.ctypes.data], [out.ctypes.data], place, place) == 0
    np.testing.assert_array_equal(out, 2 * x)


def test_each_task_orders_its_streamed_stores():
    text = STREAMED.replace("for i in 0..2 {", "for i in 0..2 parallel {")
    body = llvm_text(kernel_program(text), named("x86-64-v4")).split('@"twice.kernel.twice.i"(')[1]
    assert "sfence" in body.split("\n}")[0]


def test_streamed_stores_are_non_temporal():
    code = assembly(llvm_text(kernel_program(STREAMED), named("x86-64-v4")), named("x86-64-v4"))
    assert "vmovntps" in code
    assert "sfence" in code


@pytest.mark.parametrize("target", NAMES)
def test_a_prefetch_is_a_hint_and_no_access(target):
    text = """
    kernel copy[N](x: f32[N, 16] in, y: f32[N, 16] out) pointwise {
      for i in 0..N {
        prefetch x[i + 4, 0]
        prefetch x[1000000000 * i - 1000000000, 99]
        for l in 0..16 vector { y[i, l] = x[i, l] }
      }
    }
    """
    check(text, {"N": 3}, target, x=numbers(3, 16))
    if MACHINES[target].architecture == "x86_64":
        machine = MACHINES[target]
        assert "prefetcht0" in assembly(llvm_text(kernel_program(text), machine), machine)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize(("lanes", "dtype"), [(16, "f32"), (4, "f32"), (8, "f64"), (8, "i8")])
def test_squares_are_transposed(target, lanes, dtype):
    text = f"""
    kernel turned(x: {dtype}[2, {lanes}, {3 * lanes}] in, y: {dtype}[2, {3 * lanes}, {lanes}] out)
        pointwise {{
      for i in 0..2 {{
        for k in 0..3 {{
          for u in 0..{lanes} unrolled {{
            for l in 0..{lanes} vector {{
              y[i, {lanes} * k + u, l] = x[i, l, {lanes} * k + u]
            }}
          }}
        }}
      }}
    }}
    """
    x = np.arange(6 * lanes**2).reshape(2, lanes, 3 * lanes)
    check(text, {}, target, x=x.astype({"f32": "f4", "f64": "f8", "i8": "i1"}[dtype]))


def test_squares_need_no_gather():
    text = """
    kernel turned(x: f32[16, 40] in, y: f32[16, 16] out) pointwise {
      for u in 0..16 unrolled { for l in 0..16 vector { y[u, l] = x[l, 8 + u] } }
    }
    """
    assert "gather" not in llvm_text(kernel_program(text), named("x86-64-v4"))
