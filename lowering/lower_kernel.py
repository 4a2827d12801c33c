"""A kernel's region to a loop-IR kernel: its parameters, its sizes, and what it costs.

In: the region of a `kernel` op, and what makes its nest. Out: the kernel.

    { %y = exp(%x) : f32[N] }   →   kernel exp[N](x: f32[N] in, y: f32[N] out) pointwise { … }
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from stepwell.ir.graph.core import Graph, Value
from stepwell.ir.loop.analysis import variables_of
from stepwell.ir.loop.core import Buffer, Kernel, KernelParameter
from stepwell.ir.size import symbols
from stepwell.ir.span import Span
from stepwell.lowering.kernel_cost import flops
from stepwell.lowering.kernel_nest import Nest


def lower_kernel(
    region: Graph,
    name: str,
    family: str,
    sizes: Sequence[str],
    span: Span | None,
    known: Collection[Value],
    make: type[Nest],
) -> Kernel:
    """The naive nest of a kernel's region; `sizes` orders the size arguments, `known` are the
    inputs whose elements are known before any run; `make` gives the family's nest."""
    nest = make(region)
    body = nest.run()
    buffers = [
        KernelParameter(_buffer(value), "const" if value in known else "in")
        for value in region.inputs
    ]
    buffers += [
        KernelParameter(Buffer(nest.outputs[i], value.type.dtype, value.type.shape), "out")
        for i, (_, value) in enumerate(region.results)
    ]
    shapes = (symbols(dim) for parameter in buffers for dim in parameter.buffer.shape)
    used = variables_of(body).union(*shapes)
    ops = tuple(op.name for op in region.ops)
    return Kernel(
        name,
        tuple(size for size in sizes if size in used),
        tuple(buffers),
        body,
        family,
        ops,
        flops(region),
        span,
    )


def _buffer(value: Value) -> Buffer:
    return Buffer(value.name, value.type.dtype, value.type.shape)
