"""The kernels that find out what a machine can do, as texts of the loop IR.

In: a target, sizes in bytes. Out: programs that the compiler takes like any other: a ceiling is one
for our code, made the way our code is made.

    fma(target)                 for t in 0..T { acc[c, l] = acc[c, l] * x[0] + x[1] }     per lane
    read(target, bytes)         for i in 0..N { acc[u, l] = acc[u, l] + x[…] }
    copy(target, bytes)         for i in 0..N { y[…] = x[…] * s[0] }
    chase(elements)             for t in 0..T { at[0] = x[at[0]] }
    apply(target, "exp")        y[l] = exp(x[l]), again and again
    nothing()                   y[0] = x[0], several times: what a call costs
    fork()                      for t in 0..tasks parallel { y[t] = x[t] }, several times
"""

from __future__ import annotations

from dataclasses import dataclass

from stepwell.ir.dtypes import F32
from stepwell.ir.target import Target

CHAINS = 12  # independent accumulators: more than latency times ports on any current core
UNROLL = 8  # vectors of a turn of the memory kernels
STEPS = 1 << 15  # of the walk that measures latency
CALLS = 16  # of the kernel that does nothing
TEAM = 256  # threads that a fork is measured with at most


@dataclass(frozen=True)
class Probe:
    """A program, and how much it does: `work` is FLOP, bytes or steps of one run."""

    text: str
    work: int
    elements: int = 0  # of its arrays


def fma(target: Target, trips: int = 500_000) -> Probe:
    """Multiply-adds in registers that do not wait for one another."""
    lanes = target.lanes(F32)
    shape = f"f32[{CHAINS}, {lanes}]"
    text = _program("fma", "f32[2]", shape, f"""
  alloc acc: {shape} register
  for c in 0..{CHAINS} unrolled {{ for l in 0..{lanes} vector {{ acc[c, l] = 0.0 }} }}
  for t in 0..{trips} {{
    for c1 in 0..{CHAINS} unrolled {{
      for l1 in 0..{lanes} vector {{ acc[c1, l1] = acc[c1, l1] * x[0] + x[1] }}
    }}
  }}
  for c2 in 0..{CHAINS} unrolled {{
    for l2 in 0..{lanes} vector {{ y[c2, l2] = acc[c2, l2] }}
  }}""")  # fmt: skip
    return Probe(text, 2 * CHAINS * lanes * trips)


def read(target: Target, size: int, moved: int) -> Probe:
    """The sum of an array of about `size` bytes, again and again until `moved` bytes are read."""
    lanes, turns, elements, repeats = _walk(target, size, moved)
    shape = f"f32[{UNROLL}, {lanes}]"
    text = _program("read", f"f32[{elements}]", shape, f"""
  alloc acc: {shape} register
  for u in 0..{UNROLL} unrolled {{ for l in 0..{lanes} vector {{ acc[u, l] = 0.0 }} }}
  for r in 0..{repeats} {{
    for i in 0..{turns} {{
      for u1 in 0..{UNROLL} unrolled {{
        for l1 in 0..{lanes} vector {{
          acc[u1, l1] = acc[u1, l1] + x[{UNROLL * lanes} * i + {lanes} * u1 + l1]
        }}
      }}
    }}
  }}
  for u2 in 0..{UNROLL} unrolled {{
    for l2 in 0..{lanes} vector {{ y[u2, l2] = acc[u2, l2] }}
  }}""")  # fmt: skip
    return Probe(text, repeats * elements * 4, elements)


def copy(target: Target, size: int, moved: int, store: str = "") -> Probe:
    """Arrays of about `size` bytes together: one is written with the other's numbers, scaled;
    past the caches where `store` is `stream`."""
    lanes, turns, elements, repeats = _walk(target, size // 2, moved // 2)
    at = f"{UNROLL * lanes} * i + {lanes} * u + l"
    text = _program("copy", f"f32[{elements}]", f"f32[{elements}]", f"""
  for r in 0..{repeats} {{
    for i in 0..{turns} {{
      for u in 0..{UNROLL} unrolled {{
        for l in 0..{lanes} vector {{ y[{at}] = x[{at}] * s[0] {store} }}
      }}
    }}
  }}""", s="f32[1]")  # fmt: skip
    return Probe(text, 2 * repeats * elements * 4, elements)


def chase(elements: int) -> Probe:
    """A walk in which each step says where the next one goes: it waits for every load."""
    text = _program("chase", f"i64[{elements}]", "i64[1]", f"""
  alloc at: i64[1] register
  at[0] = s[0]
  for t in 0..{STEPS} {{ at[0] = x[at[0]] }}
  y[0] = at[0]""", s="i64[1]")  # fmt: skip
    return Probe(text, STEPS, elements)


def apply(target: Target, function: str) -> Probe:
    """One function of numbers in the L1 cache."""
    lanes, turns, elements, repeats = _walk(target, target.l1 // 4, 1 << 20)
    at = f"{UNROLL * lanes} * i + {lanes} * u + l"
    value = {"div": f"s[0] / x[{at}]"}.get(function, f"{function}(x[{at}])")
    value = f"pow(x[{at}], s[0])" if function == "pow" else value
    text = _program(function, f"f32[{elements}]", f"f32[{elements}]", f"""
  for r in 0..{repeats} {{
    for i in 0..{turns} {{
      for u in 0..{UNROLL} unrolled {{ for l in 0..{lanes} vector {{ y[{at}] = {value} }} }}
    }}
  }}""", s="f32[1]")  # fmt: skip
    return Probe(text, repeats * elements, elements)


def nothing() -> str:
    """Calls of a kernel that writes one number."""
    once = _program("nothing", "f32[1]", "f32[1]", "\n  y[0] = x[0]")
    call = "  call nothing(x, y) scratch 0\n"
    return once.replace(call, call * CALLS)


def fork() -> str:
    """Calls of a kernel whose threads write one number each."""
    call = f"  call fork[min(pool.threads, {TEAM})](x, y) scratch 0\n"
    shape = f"f32[{TEAM}]"
    once = _program("fork", shape, shape, "\n  for t in 0..tasks parallel { y[t] = x[t] }")
    text = once.replace("  call fork(x, y) scratch 0\n", call * CALLS)
    return text.replace("kernel fork(", "kernel fork[tasks](")


def _walk(target: Target, size: int, moved: int) -> tuple[int, int, int, int]:
    """(lanes, turns of a pass, elements of an array, passes)."""
    lanes = target.lanes(F32)
    turns = max(1, size // (4 * UNROLL * lanes))
    elements = turns * UNROLL * lanes
    return lanes, turns, elements, max(1, moved // (4 * elements))


def _program(name: str, x: str, y: str, body: str, s: str = "") -> str:
    """A program of one kernel, its memory planned: no pass changes it on the way down."""
    inputs = [("x", x), ("s", s)] if s else [("x", x)]
    arguments = ", ".join([input for input, _ in inputs] + ["y"])
    parameters = ", ".join([f"{input}: {type} in" for input, type in inputs] + [f"y: {y} out"])
    declared = "".join(f"  input {input}: {type}\n" for input, type in inputs)
    return (
        f"program {name} {{\n{declared}  output y: {y}\n  workspace 0\n"
        f"  call {name}({arguments}) scratch 0\n}}\n\n"
        f"kernel {name}({parameters}) pointwise {{{body}\n}}\n"
    )
