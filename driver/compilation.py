"""One compilation: a source and options, and every step of the way down as it is asked for.

In: a `Source` (a program, or IR text to go on from). Out: `graph`, `program`, `objects`, or any
stage as text. Each step is made once, from the one above it.

    Compilation(read_source("mlp.well"), Options("mlp")).stage("graph")  →  "graph @mlp[N](…) {…"
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from stepwell.debug import KERNELS, Trace
from stepwell.ir.diagnostics import InputError, InternalError
from stepwell.ir.recursion import deep_recursion
from stepwell.ir_texts import (
    graph_text,
    loops_text,
    pick_kernel,
    read_graph,
    read_program,
    text_of,
    verify,
)
from stepwell.passes import run_steps
from stepwell.pipeline import STAGES, graph_passes, loop_passes
from stepwell.programs import checked, choose_model, choose_train
from stepwell.source import Source
from stepwell.suggestions import did_you_mean, listed
from stepwell.tuning.database import database_for, tuning_digest

if TYPE_CHECKING:
    from stepwell.ir.graph.core import Graph
    from stepwell.ir.loop.core import Program
    from stepwell.ir.target import Target
    from stepwell.lowering.fuse import Decision


Static = int | float | bool | str
Mode = Literal["model", "step", "evaluate"]


@dataclass(frozen=True)
class Options:
    """What a compilation depends on beside its source. `mode` says what is compiled: a model, or of
    a train block its step or what evaluates; `model` names it."""

    model: str | None = None
    target_cpu: str | None = None
    fast_math: bool = False
    check_each_pass: bool = False
    statics: tuple[tuple[str, Static], ...] = ()  # the model's static arguments, by name
    winograd: bool = True  # whether convolutions may take Winograd's method, which rounds more
    profile: bool = False  # whether the code can note the time of each kernel's call
    tuning: str | None = None  # a database of tuned schedules; None: the one beside the cache
    mode: Mode = "model"


@dataclass
class Compilation:
    """See the module's docstring. Attributes raise UserError where the source is at fault."""

    source: Source
    options: Options = field(default_factory=Options)
    trace: Trace = field(default_factory=Trace)

    def stage(self, name: str, kernel: str | None = None) -> str | bytes:
        """One of STAGES: bytes for "obj", else text; only one kernel's where that is named."""
        if name not in STAGES:
            hint = did_you_mean(name, STAGES)
            raise InputError(f"no stage `{name}`{hint or f'; there are {listed(STAGES)}'}")
        match name:
            case "ast" | "graph" | "graph-opt" if kernel is not None:
                raise InputError(f"stage `{name}` has no kernels to choose from")
            case "ast":
                return self.ast
            case "graph":
                return graph_text(self.graph)
            case "graph-opt":
                return graph_text(self.optimised_graph)
            case "loops":
                return loops_text(self.naive_program, kernel)
            case "loops-opt":
                return loops_text(self.program, kernel)
        return self._native_stage(name, kernel)

    def again(self) -> Compilation:
        """The same, without what was made of it so far: for what is seldom asked for later."""
        return Compilation(self.source, self.options)

    def rescheduled(self, tuning: str, profile: bool) -> Compilation:
        """The same down to the naive nests, with another database of tuned schedules."""
        made = Compilation(self.source, replace(self.options, tuning=tuning, profile=profile))
        if self.source.kind != "loops":
            made.optimised_graph = self.optimised_graph
        made.naive_program = self.naive_program
        return made

    @property
    def has_program(self) -> bool:
        """Whether the way was walked down to the scheduled program."""
        return "program" in vars(self)

    @cached_property
    def target(self) -> Target:
        """The machine that code is made for. InputError for an unknown name."""
        from stepwell.ir.target import named

        return named(self.options.target_cpu or "native")

    @cached_property
    def tuning_digest(self) -> str:
        """What is known of tuned schedules for the target. InputError for a bad database."""
        return tuning_digest(database_for(self.options.tuning), self.target)

    @property
    def winograd(self) -> bool:
        """Whether convolutions may take Winograd's method."""
        # Its sums leave noise where a convolution is exactly zero: there relu's gradient jumps, and
        # a step on images with empty borders would not learn what it should.
        return self.options.winograd and self.options.mode != "step"

    @cached_property
    def ast(self) -> str:
        """The program printed back from its syntax tree."""
        from stepwell.frontend import parse, render_ast

        if self.source.kind != "well":
            raise InputError(f"{self.source.file} is IR: it has no syntax tree")
        text = render_ast(parse(self.source.text, self.source.file))
        self.trace.stage("ast", text)
        return text

    @cached_property
    def graph(self) -> Graph:
        """Tensor operators, every shape known."""
        if self.source.kind == "loops":
            raise InputError(f"{self.source.file} is loop IR: the graph lies behind it")
        if self.source.kind == "graph":
            graph = read_graph(self.source)
            self._require_meant(graph.name)
        else:
            if self.trace.folder is not None:
                _ = self.ast
            graph = self._elaborated()
        self._say("graph", graph)
        return graph

    def _elaborated(self) -> Graph:
        program, statics = checked(self.source), dict(self.options.statics)
        mode, name = self.options.mode, self.options.model
        if mode == "model":
            from stepwell.frontend import elaborate

            return elaborate(program, choose_model(program, name), statics)
        from stepwell.frontend import elaborate_train

        graph: Graph = elaborate_train(program, choose_train(program, name), mode, statics)
        return graph

    @cached_property
    @deep_recursion()
    def simplified_graph(self) -> Graph:
        """After all passes on it but the last, which fuses."""
        steps = graph_passes(self.options.fast_math)[:-1]
        graph: Graph = run_steps(steps, self.graph, self.trace, self.options.check_each_pass)
        return graph

    @cached_property
    @deep_recursion()
    def optimised_graph(self) -> Graph:
        """Simplified, and partitioned into kernels."""
        fuse, simple = graph_passes(self.options.fast_math)[-1:], self.simplified_graph
        graph: Graph = run_steps(fuse, simple, self.trace, self.options.check_each_pass)
        self._say("graph-opt", graph)
        return graph

    @deep_recursion()
    def decisions(self) -> list[Decision]:
        """Why each value is computed in the kernel that it is in."""
        from stepwell.lowering.fuse import explain

        graph = self.simplified_graph
        if any(op.name == "kernel" for op in graph.ops):
            raise InputError(f"{self.source.file} is fused already: its reasons are gone")
        return explain(graph)

    @cached_property
    @deep_recursion()
    def naive_program(self) -> Program:
        """One naive loop nest per kernel."""
        if self.source.kind == "loops":
            program = read_program(self.source)
            self._require_meant(program.name)
        else:
            from stepwell.lowering.graph_to_loops import graph_to_loops

            program = graph_to_loops(self.optimised_graph)
            if self.options.check_each_pass:
                verify(program)
        self._say("loops", program)
        return program

    @cached_property
    @deep_recursion()
    def program(self) -> Program:
        """Scheduled for the target, memory planned."""
        _ = self.target  # a name that is none is said to be, before a pass stumbles over it
        program = self.naive_program
        if program.workspace is None:
            _ = self.tuning_digest  # a database that can't be read is said to be one
            database = database_for(self.options.tuning)
            target = self.options.target_cpu or "native"
            steps = loop_passes(target, database, self.winograd)
            checking = self.options.check_each_pass
            program = run_steps(steps, program, self.trace, checking)
        self._say("loops-opt", program)
        return program

    @cached_property
    def objects(self) -> tuple[bytes, ...]:
        """Object files with the model's native code."""
        if self.trace.level >= KERNELS:
            self._say_kernels()
        if self.trace.needs_everything:
            for name in ("llvm", "llvm-opt", "asm", "obj"):
                self.trace.stage(name, self._native_stage(name, None))
        return self._compiled(split=True)

    @deep_recursion()
    def _compiled(self, split: bool) -> tuple[bytes, ...]:
        """The objects, or the one object where the code is not `split` into modules."""
        from stepwell.codegen.llvm import whole
        from stepwell.codegen.modules import compile_objects

        program, start = self.program, time.perf_counter()
        try:
            part = whole(program, self.options.profile)
            made = compile_objects(program, self.target, part, split=split)
        except Exception as error:
            message = f"code generation: {type(error).__name__}: {error}"
            raise InternalError(message, text_of(program)) from error
        self.trace.ran("compile_objects", time.perf_counter() - start, None)
        return tuple(each.data for each in made)

    @deep_recursion()
    def _native_stage(self, name: str, kernel: str | None) -> str | bytes:
        from stepwell.codegen import compile as llvm
        from stepwell.codegen.llvm import Part, llvm_text

        if kernel is None and name == "obj":
            return self._compiled(split=False)[0]
        part = None
        if kernel is not None:
            part = Part((pick_kernel(self.program, kernel),), entry=False)
        text = llvm_text(self.program, self.target, part)
        match name:
            case "llvm":
                return text
            case "llvm-opt":
                return llvm.optimised_text(text, self.target)
            case "asm":
                return llvm.assembly(text, self.target)
            case _:
                return llvm.compiled(text, self.target).data

    def _require_meant(self, name: str) -> None:
        """InputError where another model was asked for than the one that the IR text holds."""
        if self.options.model not in (None, name):
            raise InputError(
                f"{self.source.file} holds the model `{name}`, not `{self.options.model}`"
            )

    def _say(self, stage: str, ir: Graph | Program) -> None:
        if self.trace.folder is not None:
            self.trace.stage(stage, text_of(ir))

    def _say_kernels(self) -> None:
        from stepwell.report import Kernels, calls_json, kernel_reports

        self.trace.say(KERNELS, str(Kernels(kernel_reports(calls_json(self.program)))))
