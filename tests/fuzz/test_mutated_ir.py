"""Broken IR texts: parsed, verified, passed and compiled, or refused with a clear message.

Graphs and loops of the examples, on each stage, a few edits each. What still verifies goes through
the passes and LLVM in a child process: nothing is raised but errors for people, no process aborts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from diagnostics import assert_good
from hypothesis import given, note, seed, settings
from hypothesis import strategies as st
from seeds import note_seed, seed_of
from text_mutations import Edit, edits, mutated
from workers import Worker

from stepwell.codegen.modules import compile_objects
from stepwell.compilation import Compilation, Options
from stepwell.ir.diagnostics import InputError, PassError, UserError, VerifyError
from stepwell.ir.graph import Graph, parse_graph, print_graph, verify_graph
from stepwell.ir.loop import format_kernel, format_loops, parse_loops, verify_loops
from stepwell.ir.loop.core import Program
from stepwell.ir.passes import parse_pipeline, run_pipeline
from stepwell.ir.target import host
from stepwell.lowering import passes
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.pipeline import graph_passes, loop_passes, pipeline
from stepwell.programs import model_names
from stepwell.source import read_source

ROOT = Path(__file__).parents[2]
CASES = 2000
SHARES = 2  # so that parallel runs can share the work
LIMIT_S = 20.0
LONGEST = 6000  # characters of a seed
MODELS = (
    ("examples/digits/mlp.well", ("mlp",)),
    ("examples/digits/digits.well", ("digits",)),
    ("examples/transformer.well", ()),
    ("examples/gallery.well", ()),
)
GRAPH_PASSES = {item.name: item for item in passes.GRAPH_PASSES}
LOOP_PASSES = {item.name: item for item in passes.LOOP_PASSES}
Seed = tuple[str, str, str]  # kind, what it is, text
_compiled: set[str] = set()  # a program comes on several stages, and from many a mutant unchanged


def _texts(path: str, model: str) -> list[Seed]:
    source = replace(read_source(ROOT / path), file=path)  # the same text wherever the clone is
    compilation = Compilation(source, Options(model))
    found: list[Seed] = []
    for stage in ("graph", "graph-opt"):
        found.append(("graph", f"{stage} of {model}", str(compilation.stage(stage))))
    for stage, program in (
        ("loops", compilation.naive_program),
        ("loops-opt", compilation.program),
    ):
        found.append(("loops", f"{stage} of {model}", format_loops(program)))
        for kernel in program.kernels:
            name = f"{stage} of {model}, {kernel.name}"
            found.append(("loops", name, format_kernel(kernel)))
    return found


@cache
def seeds() -> tuple[Seed, ...]:
    """The texts to break."""
    found: list[Seed] = []
    for path, names in MODELS:
        for model in names or model_names(read_source(ROOT / path)):
            found += _texts(path, model)
    return tuple(item for item in found if len(item[2]) <= LONGEST)


def _compile(program: Program) -> None:
    if program.workspace is None:
        steps = parse_pipeline(pipeline(loop_passes()), passes=LOOP_PASSES)
        program = run_pipeline(program, steps)
        verify_loops(program)
    if (text := format_loops(program)) not in _compiled:
        compile_objects(program, host())
        _compiled.add(text)


def _graph(text: str) -> None:
    graph: Graph = parse_graph(text, "mutant")
    verify_graph(graph)
    again = print_graph(graph)
    assert print_graph(parse_graph(again, "mutant")) == again
    steps = parse_pipeline(pipeline(graph_passes()), passes=GRAPH_PASSES)
    if not any(op.name == "kernel" for op in graph.ops):
        graph = run_pipeline(graph, steps)
        verify_graph(graph)
    _compile(graph_to_loops(graph))


def _loops(text: str) -> None:
    ir = parse_loops(text, "mutant")
    verify_loops(ir)
    again = format_loops(ir)
    assert format_loops(parse_loops(again, "mutant")) == again
    if isinstance(ir, Program):
        _compile(ir)


def examine(request: object) -> str:
    """What becomes of a text."""
    kind, text = request  # type: ignore[misc]
    try:
        _graph(text) if kind == "graph" else _loops(text)
    except UserError as error:
        assert_good(error, text, "mutant")
        return error.diagnostics[0].code
    except (VerifyError, PassError, InputError) as error:
        assert len(str(error)) > 10
        return type(error).__name__
    return "compiled"


def test_the_seeds_are_well_formed() -> None:
    for kind, name, text in seeds():
        assert examine((kind, text)) == "compiled", name


@pytest.mark.parametrize("share", range(SHARES))
def test_mutated_ir(share: int) -> None:
    seen: Counter[str] = Counter()
    worker = Worker(examine, LIMIT_S)
    mine = seeds()[share::SHARES]

    @seed(seed_of(share))
    @settings(max_examples=CASES // SHARES)
    @given(st.sampled_from(mine), edits())
    def one(start: Seed, changes: list[Edit]) -> None:
        kind, name, text = start
        text = mutated(text, changes)
        note_seed(share)
        note(f"{name}, {changes}:\n{text}\nrepr: {text!r}"[:8000])
        seen[str(worker((kind, text)))] += 1

    try:
        one()
    finally:
        worker.stop()
    assert seen["compiled"] > CASES // SHARES // 20
    assert seen["VerifyError"] > CASES // SHARES // 400
