"""What a program keeps from a forward pass for its backward pass.

In: a `Program`, and the graph of kernels that it was made of. Out: the temporaries that a kernel of
the forward pass writes and one of the backward pass, or after it, reads.

    %max = kernel(%x, %w) {name = "conv_add_relu", …}         →   max: f32[N, 32, 8, 8]
    backward %dx = kernel(%dy, %max) {name = "matmul_ge", …}
"""

from __future__ import annotations

from stepwell.ir.graph.core import Graph
from stepwell.ir.loop.core import Program, ProgramBuffer
from stepwell.lowering.backward import backward_ops


def saved_activations(program: Program, graph: Graph) -> tuple[ProgramBuffer, ...]:
    """In the order in which they are made; none where nothing is differentiated."""
    backward = backward_ops(graph)
    read = {value for op in backward for value in op.operands}
    saved = [value for op in graph.ops if op not in backward for value in op.results]
    temporaries = {item.buffer.name: item for item in program.with_role("temporary")}
    return tuple(
        temporaries[value.name] for value in saved if value in read and value.name in temporaries
    )
