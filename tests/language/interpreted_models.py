"""Running a program's model with the graph interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np

from stepwell.frontend import check, elaborate
from stepwell.ir.graph import Graph, interpret_graph

Array = np.ndarray[Any, np.dtype[Any]]


def run_model(source: str, *arrays: Any, model: str | None = None, **parameters: Array) -> Any:
    """The results of a program's (first) model on arrays given in the order of its inputs."""
    program = check(source, "test.well")
    name = model or next(f.name for f in program.root.tree.functions if f.kind == "model")
    graph = elaborate(program, name)
    inputs = {v.name: np.asarray(a) for v, a in zip(graph.inputs, arrays, strict=True)}
    values = {p.path: parameters[p.path.replace(".", "_")] for p in graph.parameters}
    results = interpret_graph(graph, inputs, values)
    return tuple(results.values()) if len(results) > 1 else results["out"]


def build(source: str, model: str, **statics: Any) -> Graph:
    """A model's graph."""
    return elaborate(check(source, "test.well"), model, statics)
