"""A kernel's region to a loop-IR kernel: its parameters, its sizes, and what it costs.

In: the region of a `kernel` op, and what makes its nest. Out: the kernel.

    { %y = exp(%x) : f32[N] }   →   kernel exp[N](x: f32[N] in, y: f32[N] out) pointwise { … }
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from stepwell.ir.graph.core import Graph, Value
from stepwell.ir.loop.core import (
    Alloc,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    KernelParameter,
    Let,
    Statement,
    Store,
)
from stepwell.ir.scalar import variables
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
    used = _used_sizes(body, buffers) & set(sizes)
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


def _used_sizes(body: Sequence[Statement], parameters: Sequence[KernelParameter]) -> set[str]:
    used: set[str] = set()
    for parameter in parameters:
        for dim in parameter.buffer.shape:
            used |= symbols(dim)
    for statement in body:
        match statement:
            case For(extent=extent, body=inner):
                used |= symbols(extent) | _used_sizes(inner, ())
            case If(condition=condition, then=then, otherwise=otherwise):
                used |= variables(condition) | _used_sizes((*then, *otherwise), ())
            case Let(value=value):
                used |= variables(value)
            case Store(indices=indices, value=value):
                for expr in (*indices, value):
                    used |= variables(expr)
            case Check(condition=condition):
                used |= variables(condition)
            case Alloc(buffer=buffer):
                for dim in buffer.shape:
                    used |= symbols(dim)
    return used
