"""The graph IR: a DAG of tensor operators in SSA form.

Importing this package registers every operator.
"""

from __future__ import annotations

from stepwell.ir.graph import (
    constants,
    contraction,
    convolution,
    differentiation,
    elementwise,
    index,
    kernel,
    movement,
    random,
    reduction,
    scatter,
    selection,
    window,
)
from stepwell.ir.graph.builder import GraphBuilder
from stepwell.ir.graph.core import Graph, Op, TypeRuleError, Value
from stepwell.ir.graph.interpreter import interpret_graph, interpret_step
from stepwell.ir.graph.parser import parse_graph
from stepwell.ir.graph.printer import print_graph
from stepwell.ir.graph.registry import REGISTRY
from stepwell.ir.graph.sizes import bind_sizes
from stepwell.ir.graph.verify import verify_graph

FAMILIES = (
    *(constants, elementwise, random, movement, selection, scatter, reduction),
    *(contraction, convolution, window, index),
    *(differentiation, kernel),
)

__all__ = [
    "FAMILIES",
    "REGISTRY",
    "Graph",
    "GraphBuilder",
    "Op",
    "TypeRuleError",
    "Value",
    "bind_sizes",
    "interpret_graph",
    "interpret_step",
    "parse_graph",
    "print_graph",
    "verify_graph",
]
