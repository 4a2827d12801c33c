"""IR as text, for either IR: reading, verifying, printing.

In: a `Source` that holds IR, or IR. Out: IR, or its text. A text that breaks a rule of its IR is
the user's mistake: UserError or VerifyError.

    text_of(read_ir(source)) == text_of(read_ir(again)) where `again` holds that text
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from stepwell.ir.diagnostics import InputError
from stepwell.source import Source
from stepwell.suggestions import did_you_mean, listed

if TYPE_CHECKING:
    from stepwell.ir.graph.core import Graph
    from stepwell.ir.loop.core import Kernel, Program

IR: TypeAlias = "Graph | Program | Kernel"


def read_graph(source: Source) -> Graph:
    """Graph IR from text, verified."""
    from stepwell.ir.graph import parse_graph, verify_graph

    graph = parse_graph(source.text, source.file)
    verify_graph(graph)
    return graph


def read_loops(source: Source) -> Program | Kernel:
    """Loop IR from text, verified: a program, or one kernel by itself."""
    from stepwell.ir.loop.parser import parse_loops
    from stepwell.ir.loop.verifier import verify_loops

    ir = parse_loops(source.text, source.file)
    verify_loops(ir)
    return ir


def read_program(source: Source) -> Program:
    """A whole program of loop IR, verified. InputError for a kernel by itself."""
    from stepwell.ir.loop.core import Program

    ir = read_loops(source)
    if not isinstance(ir, Program):
        raise InputError(f"{source.file} holds a kernel by itself: only `stepwell opt` takes that")
    return ir


def read_ir(source: Source) -> IR:
    """Whichever IR the text is in."""
    return read_graph(source) if source.kind == "graph" else read_loops(source)


def verify(ir: IR) -> None:
    """Raises VerifyError where either IR breaks a rule."""
    from stepwell.ir.graph import verify_graph
    from stepwell.ir.graph.core import Graph
    from stepwell.ir.loop.verifier import verify_loops

    verify_graph(ir) if isinstance(ir, Graph) else verify_loops(ir)


def text_of(ir: IR) -> str:
    """The text of either IR."""
    from stepwell.ir.graph.core import Graph
    from stepwell.ir.loop.printer import format_loops

    return graph_text(ir) if isinstance(ir, Graph) else format_loops(ir)


def graph_text(graph: Graph) -> str:
    """A graph's text."""
    from stepwell.ir.graph import print_graph

    return print_graph(graph)


def loops_text(program: Program, kernel: str | None = None) -> str:
    """A program's text, or that of one of its kernels."""
    from stepwell.ir.loop.printer import format_kernel, format_loops

    if kernel is None:
        return format_loops(program)
    return format_kernel(program.kernel(pick_kernel(program, kernel)))


def pick_kernel(program: Program, kernel: str) -> str:
    """The kernel's name. InputError where the program has no such kernel."""
    names = [item.name for item in program.kernels]
    if kernel not in names:
        hint = did_you_mean(kernel, names) or f"; there are {listed(names)}"
        raise InputError(f"{program.name} has no kernel `{kernel}`{hint}")
    return kernel
