"""Running train blocks with the graph interpreter, step after step."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from stepwell.frontend import check, elaborate, elaborate_train
from stepwell.ir.graph import Graph, interpret_graph, interpret_step

Array = np.ndarray[Any, np.dtype[Any]]
_STARTS = {"zeros": 0.0, "ones": 1.0}


class Steps:
    """A train block's step on given parameters; states start as they are declared."""

    def __init__(self, source: str, parameters: dict[str, Array], name: str = "m") -> None:
        program = check(source, "train.well")
        self.graph = elaborate_train(program, name)
        self.evaluation = elaborate_train(program, name, "evaluate")
        self.values = {p.path: _start(p) for p in self.graph.parameters} | parameters

    def __call__(self, *arrays: Any) -> dict[str, Any]:
        """One step; its loss and metrics."""
        results, new = interpret_step(self.graph, _inputs(self.graph, arrays), self.values)
        self.values |= new
        return results

    def evaluate(self, *arrays: Any) -> dict[str, Any]:
        """Loss and metrics as they are; nothing changes."""
        graph = self.evaluation
        known = {p.path: self.values[p.path] for p in graph.parameters}
        return interpret_step(graph, _inputs(graph, arrays), known)[0]


def _inputs(graph: Graph, arrays: tuple[Any, ...]) -> dict[str, Array]:
    return {v.name: np.asarray(a) for v, a in zip(graph.inputs, arrays, strict=True)}


def _start(parameter: Any) -> Array:
    type, text = parameter.value.type, parameter.initializer
    value = _STARTS.get(text, 0.0)
    if text.startswith("constant("):
        value = float(text.removeprefix("constant(").removesuffix(")"))
    return np.full(type.shape, value, type.dtype.numpy)


def gradients(function: str, wrt: list[str], *arrays: Any) -> tuple[Array, ...]:
    """What `value_and_grad(f, wrt: …)` gives, of a function `f` with f64 and integer arguments."""
    formals = re.findall(
        r"(\w+): (\w+\[[^\]]*\])", function.split("{", maxsplit=1)[0].split("->", maxsplit=1)[0]
    )
    names = ", ".join(name for name, _ in formals)
    typed = ", ".join(f"{name}: {type}" for name, type in formals)
    call = f"value_and_grad(f, wrt: [{', '.join(wrt)}])({names})"
    source = f"{function}\nmodel m({typed}) {{ {call} }}"
    graph = elaborate(check(source, "f.well"), "m")
    return tuple(interpret_graph(graph, _inputs(graph, arrays)).values())
