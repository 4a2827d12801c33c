"""The memory plan: blocks that live at once never share bytes, for any sizes; and it reuses."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from stepwell.ir.dtypes import F32
from stepwell.ir.loop.core import (
    Alloc,
    Block,
    Buffer,
    Call,
    For,
    Kernel,
    KernelParameter,
    Program,
    ProgramBuffer,
    Store,
)
from stepwell.ir.scalar import Binary, Const, Expr, Load, Unary, Var, index
from stepwell.ir.size import Dim, evaluate, minimum, symbol
from stepwell.lowering.in_place import can_reuse
from stepwell.lowering.plan_memory import PlanMemory, memory_report
from stepwell.lowering.side_by_side import SideBySide

N, M = symbol("N"), symbol("M")


def _kernel(name: str, inputs: int, scratch: Dim = 0) -> Kernel:
    """out[0] = the sum of x0[0], x1[0], …, stored twice: never in place."""
    n = symbol("n")
    total: Expr = Load("x0", (index(0),), F32)
    for i in range(1, inputs):
        total = Binary("add", total, Load(f"x{i}", (index(0),), F32))
    body: Block = (Store("out", (index(0),), total), Store("out", (index(0),), total))
    if scratch != 0:
        body = (Alloc(Buffer("row", F32, (scratch,), "scratch")), *body)
    parameters = [KernelParameter(Buffer(f"x{i}", F32, (n,)), "in") for i in range(inputs)]
    parameters.append(KernelParameter(Buffer("out", F32, (n,)), "out"))
    return Kernel(name, ("n",), tuple(parameters), body)


def _program(shapes: Sequence[Dim], reads: Sequence[Sequence[int]], scratch: Dim = 0) -> Program:
    """A temporary per shape; call i makes the i-th from the ones it reads and the input."""
    buffers = [ProgramBuffer(Buffer("x", F32, (N,)), "input")]
    buffers += [
        ProgramBuffer(Buffer(f"t{i}", F32, (shape,)), "temporary") for i, shape in enumerate(shapes)
    ]
    buffers.append(ProgramBuffer(Buffer("y", F32, (1,)), "output"))
    kernels = {}
    calls = []
    for i, sources in enumerate([*reads, [len(shapes) - 1]]):
        kernel = _kernel(f"k{len(sources)}", len(sources) + 1, scratch)
        kernels[kernel.name] = kernel
        target = f"t{i}" if i < len(shapes) else "y"
        arguments = ("x", *(f"t{j}" for j in sources), target)
        calls.append(Call(kernel.name, (N,), arguments))
    return Program("p", ("N", "M"), tuple(buffers), (), tuple(calls), tuple(kernels.values()))


def _spans(program: Program, sizes: dict[str, int]) -> list[tuple[int, int, int, int]]:
    """(offset, end, first step, last step) of every temporary and scratch."""
    spans = []
    calls = [(i, call) for i, step in enumerate(program.steps) for call in step]
    for item in program.with_role("temporary"):
        assert item.offset is not None
        uses = [i for i, call in calls if item.buffer.name in call.arguments]
        start = evaluate(item.offset, sizes)
        spans.append((start, start + evaluate(item.buffer.bytes, sizes), uses[0], uses[-1]))
    for i, call in calls:
        kernel = program.kernel(call.kernel)
        for statement in kernel.body:
            if isinstance(statement, Alloc) and call.scratch is not None:
                start = evaluate(call.scratch, sizes)
                size = evaluate(statement.buffer.bytes, {"n": sizes["N"], **sizes})
                spans.append((start, start + size, i, i))
    return spans


def _check(program: Program) -> None:
    assert program.workspace is not None
    for n, m in itertools.product((0, 1, 3, 64, 1797), (1, 5, 100)):
        sizes = {"N": n, "M": m}
        workspace = evaluate(program.workspace, sizes)
        spans = _spans(program, sizes)
        for start, end, _, _ in spans:
            assert 0 <= start <= end <= workspace
            assert start % 64 == 0
        for a, b in itertools.combinations(spans, 2):
            alive_together = a[2] <= b[3] and b[2] <= a[3]
            assert not alive_together or a[1] <= b[0] or b[1] <= a[0] or n * m == 0


@pytest.mark.parametrize(
    "shapes",
    [(100, 200, 300, 50), (N, N, N, N), (4 * N, N, N * M, 7), (N + M, N, N + 1, M), (3, N, 3, N)],
)
def test_a_chain_keeps_two_blocks(shapes: tuple[Dim, ...]) -> None:
    program = _program(shapes, [[], [0], [1], [2]])
    planned = PlanMemory().run(program)
    _check(planned)
    report = memory_report(planned)
    sizes = {"N": 64, "M": 64}
    workspace, naive, peak = report.at(sizes)
    assert peak <= workspace < naive
    _check(PlanMemory(reuse=False).run(program))


def test_constant_sizes_meet_the_liveness_bound_on_a_chain() -> None:
    program = _program((1024, 512, 2048, 256), [[], [0], [1], [2]])
    workspace, _, peak = memory_report(PlanMemory().run(program)).at({})
    assert workspace == peak == 4 * (512 + 2048)


def test_scratch_lives_during_its_call_only() -> None:
    program = _program((16 * N, 16 * N), [[], [0]], scratch=16 * symbol("n"))
    planned = PlanMemory().run(program)
    _check(planned)
    assert [call.scratch is not None for call in planned.calls] == [True] * 3
    assert evaluate(planned.workspace or 0, {"N": 4}) == 3 * 64 * 4


def test_scratch_for_each_thread_lies_above_what_lives_then() -> None:
    count = 300
    sizes = [64 * (1 + i % 7) for i in range(count)]
    reads = [[] if i == 0 else [i - 1] for i in range(count)]
    scratch = minimum(symbol("n"), 8) * 48
    planned = PlanMemory().run(_program(sizes, reads, scratch))
    _check(planned)
    assert len(str(planned.workspace)) < 1000  # no formula is deep, however long the program
    workspace, _, peak = memory_report(planned).at({"N": 4, "M": 1})
    assert workspace <= 1.1 * peak


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed: int) -> None:
    rng = random.Random(seed)
    choices: list[Dim] = [1, 40, 1000, N, 4 * N, N * M, N + 1, M]
    count = rng.randint(2, 9)
    static = rng.random() < 0.3
    shapes = [rng.choice(choices[:3] if static else choices) for _ in range(count)]
    reads = [rng.sample(range(i), rng.randint(0, min(i, 3))) for i in range(count)]
    planned = PlanMemory().run(_program(shapes, reads, rng.choice([0, 5, symbol("n")])))
    _check(planned)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_together_lives_at_once(seed: int) -> None:
    """The temporaries and the scratch of all calls of a step, in programs grouped at random."""
    rng = random.Random(seed)
    count = rng.randint(4, 12)
    reads = [rng.sample(range(i), rng.randint(0, min(i, 2))) for i in range(count)]
    shapes = [rng.choice([40, 1000, N, 4 * N]) for _ in range(count)]
    program = _program(shapes, reads, rng.choice([0, 5, symbol("n")]))
    options = SideBySide(grain=0, fork=0, moved=0, cache=1 << 40)
    joined = options.run(program)
    assert any(call.beside for call in joined.calls) or all(reads[1:])
    _check(PlanMemory().run(joined))


def test_what_dies_beside_another_reader_is_not_written_over() -> None:
    kernel = _map((I,), ("i", symbol("S0")))
    names = ["x", "t", "a", "b", "y", "z"]
    roles = ["input", *["temporary"] * 3, *["output"] * 2]
    buffers = tuple(
        ProgramBuffer(Buffer(name, F32, (N,)), role)
        for name, role in zip(names, roles, strict=True)
    )
    pairs = [("x", "t"), ("t", "a"), ("t", "b"), ("a", "y"), ("b", "z")]
    calls = tuple(Call("k", (), pair, beside=pair == ("t", "b")) for pair in pairs)
    planned = PlanMemory().run(Program("p", ("N",), buffers, (), calls, (kernel,)))
    assert len({item.offset for item in planned.with_role("temporary")}) == 3


# ------------------------------------------------------------------------------- in place


def _loops(body: Block, *loops: tuple[str, Dim]) -> Block:
    for name, extent in reversed(loops):
        body = (For(name, extent, "serial", body),)
    return body


def _map(indices: tuple[Expr, ...], *loops: tuple[str, Dim], at: tuple[Expr, ...] = ()) -> Kernel:
    read = Load("x", at or indices, F32)
    shape = tuple(symbol(f"S{i}") for i in range(len(indices)))
    parameters = (
        KernelParameter(Buffer("x", F32, shape), "in"),
        KernelParameter(Buffer("y", F32, shape), "out"),
    )
    body = _loops((Store("y", indices, Unary("exp", read)),), *loops)
    return Kernel("k", (), parameters, body)


I, J = Var("i"), Var("j")  # noqa: E741
BLOCKED = Binary("add", Binary("mul", index(16), I), J)
IN_PLACE = [
    (_map((I,), ("i", N)), True),
    (_map((I, J), ("i", N), ("j", M)), True),
    (_map((I, J), ("j", N), ("i", M)), True),
    (_map((BLOCKED,), ("i", N), ("j", 16)), True),
    (_map((BLOCKED,), ("i", N), ("j", 17)), False),  # turns overlap
    (_map((I,), ("i", N), ("j", M)), False),  # stored again in every turn of j
    (_map((I, J), ("i", N), ("j", N), at=(J, I)), False),  # a transpose
    (_map((I,), ("i", N), at=(Binary("sub", Binary("sub", Var("N"), I), index(1)),)),
     False),
]  # fmt: skip


@pytest.mark.parametrize(("kernel", "expected"), IN_PLACE)
def test_in_place(kernel: Kernel, expected: bool) -> None:
    assert can_reuse(kernel, "x", "y") is expected


def _sums(inside: bool) -> Kernel:
    """y[i] = the sum of x, added up before anything is stored, or for each element anew."""
    total = Load("acc", (), F32)
    adding = (
        Store("acc", (), Const(0.0, F32)),
        *_loops((Store("acc", (), Binary("add", total, Load("x", (J,), F32))),), ("j", N)),
    )
    storing = (Store("y", (I,), total),)
    turns = _loops((*adding, *storing), ("i", N))
    nests = turns if inside else (*adding, *_loops(storing, ("i", N)))
    body = (Alloc(Buffer("acc", F32, (), "register")), *nests)
    return Kernel("k", (), _map((I,), ("i", N)).parameters, body)


def test_a_reduction_is_in_place_where_it_is_done_before() -> None:
    assert can_reuse(_sums(inside=False), "x", "y")
    assert not can_reuse(_sums(inside=True), "x", "y")


def test_pieces_are_in_place_where_they_are_apart() -> None:
    def pieces(start: int) -> Kernel:
        """Rows 0 to 12, then those from `start` on."""
        rest = Binary("add", Var("i_1"), index(start))
        first, second = _map((I,), ("i", 13)), _map((rest,), ("i_1", 7))
        return replace(first, body=(*first.body, *second.body))

    assert can_reuse(pieces(13), "x", "y")
    assert not can_reuse(pieces(12), "x", "y")  # row 12 is read again


def test_the_last_block_may_be_shorter() -> None:
    """Rows 0 to 53 in blocks of 12, the last of 6 rows; then what is left."""

    def blocks(start: int) -> Kernel:
        row = Binary("add", Binary("mul", index(12), I), J)
        rest = Binary("add", Var("k"), index(start))
        first = _map((row,), ("i", 5), ("j", minimum(12, 54 - 12 * symbol("i"))))
        return replace(first, body=(*first.body, *_map((rest,), ("k", 7)).body))

    assert can_reuse(blocks(54), "x", "y")
    assert not can_reuse(blocks(53), "x", "y")


def test_a_chain_of_maps_runs_in_one_block() -> None:
    kernel = _map((I,), ("i", symbol("S0")))
    names = ["x", *(f"t{i}" for i in range(4)), "y"]
    buffers = [ProgramBuffer(Buffer("x", F32, (N,)), "input")]
    buffers += [ProgramBuffer(Buffer(n, F32, (N,)), "temporary") for n in names[1:-1]]
    buffers.append(ProgramBuffer(Buffer("y", F32, (N,)), "output"))
    calls = tuple(Call("k", (), pair) for pair in itertools.pairwise(names))
    planned = PlanMemory().run(Program("p", ("N",), tuple(buffers), (), calls, (kernel,)))
    assert {item.offset for item in planned.with_role("temporary")} == {0}
