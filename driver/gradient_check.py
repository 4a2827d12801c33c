"""Gradients against finite differences, in float64: `sw.gradcheck` and `stepwell gradcheck`.

In: a program, arrays for its inputs (drawn where none are given). Out: a `GradCheck` with a row for
each input and parameter of floats; it prints as a table.

    gradient of  type          checked  error    at      gradient  difference
    x            f32[4, 8]     32       2.1e-10  [3, 1]  0.18304   0.18304
    w            f32[8, 3]     24       6.0e-11  [0, 2]  -1.0291   -1.0291

What is differentiated is the sum of all results, each element times a number of its own, drawn at
random: an error in any element's gradient shows. Of a train block it is the loss, by what a step
updates. Everything is computed by the graph interpreter.
Where a function has a kink (relu at 0), a difference across it is not the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepwell.arrays import Array
from stepwell.compilation import Compilation, Options, Static
from stepwell.debug import Trace
from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import F64
from stepwell.ir.size import evaluate
from stepwell.report import table
from stepwell.samples import sample_inputs, sample_parameters, sizes_of
from stepwell.source import as_source
from stepwell.weights import Weights

if TYPE_CHECKING:
    from stepwell.ir.graph.core import Graph, Value

STEP = 1e-5  # of a central difference, relative to the element where that is above 1
ROUNDING = 32 * 2.0**-52  # of the loss, relative: differences are that inexact, over the step
SMALL = 1e-3  # errors count relative to an element, or to this part of the tensor's largest


@dataclass(frozen=True)
class GradientReport:
    """One input or parameter: the element whose gradient is furthest off, relative to itself or to
    what is usual in the tensor; of equals the greatest."""

    name: str
    type: str
    checked: int
    error: float
    at: tuple[int, ...]
    gradient: float
    difference: float


@dataclass(frozen=True)
class GradCheck:
    """What `gradcheck` found."""

    model: str
    reports: tuple[GradientReport, ...]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every gradient is within the tolerance."""
        return all(report.error <= self.tolerance for report in self.reports)

    @property
    def worst(self) -> GradientReport:
        """The row with the greatest error."""
        return max(self.reports, key=lambda report: report.error)

    def __str__(self) -> str:
        rows = [("gradient of", "type", "checked", "error", "at", "gradient", "difference")]
        for r in self.reports:
            numbers = f"{r.gradient:.5g}", f"{r.difference:.5g}"
            facts = r.name, r.type, str(r.checked), f"{r.error:.1e}", str(list(r.at))
            rows.append((*facts, *numbers))
        verdict = "fine" if self.ok else f"WRONG: {self.worst.name}"
        limit = f"errors up to {self.tolerance:.0e} are rounding"
        return f"{table(rows)}\n{self.model}: {verdict} ({limit})"

    __repr__ = __str__


def gradcheck(
    source: str | Path,
    model: str | None = None,
    *,
    train: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
    weights: str | Path | Weights | None = None,
    statics: Mapping[str, Static] | None = None,
    seed: int = 0,
    samples: int = 40,
    tolerance: float = 1e-5,
) -> GradCheck:
    """Compare a model's gradients with finite differences, or those of a train block's loss.

    source, model, statics   as `compile` takes them
    train       instead of a model: a train block, whose loss is differentiated by each parameter
                that a step updates
    inputs      arrays by name; what is left out is drawn: floats normally, whole numbers 0 or 1
    sizes       symbolic sizes by name; what is left out is small
    weights     a file or a mapping; without them parameters are drawn by their initialisers
    seed        of all that is drawn
    samples     elements of each input and parameter that are compared, chosen at random
    tolerance   the relative error that `.ok` allows

    Raises UserError where the program is at fault, InputError where an argument is, or where there
    is no gradient.
    """
    if model is not None and train is not None:
        raise InputError("model, train: choose one of them")
    named = tuple((statics or {}).items())
    options = Options(model if train is None else train, statics=named,
                      mode="model" if train is None else "step")  # fmt: skip
    graph = Compilation(as_source(source), options, Trace.start()).graph
    checked = _of_a_model(graph) if train is None else _of_a_step(graph)
    random = np.random.default_rng(seed)
    arrays = sample_inputs(graph, inputs or {}, sizes or {}, random)
    arrays |= sample_parameters(graph, weights, seed)
    loss, weighted = _loss(graph, checked)
    bound = sizes_of(graph, arrays)
    for value in weighted:
        shape = [evaluate(dim, bound) for dim in value.type.shape]
        arrays[value.name] = random.uniform(0.5, 1.5, shape)
    reports = _reports(graph.name, loss, checked.wrt, arrays, samples, random)
    return GradCheck(graph.name, tuple(reports), tolerance)


# What is differentiated


@dataclass(frozen=True)
class _Checked:
    """A region of a graph, which of the graph's values it is of, and by which it is
    differentiated."""

    region: Graph
    operands: tuple[Value, ...]
    wrt: tuple[Value, ...]


def _of_a_model(graph: Graph) -> _Checked:
    """All results, by all inputs and parameters of floats."""
    held = tuple(parameter.value for parameter in graph.parameters)
    trained = (p.value for p in graph.parameters if p.kind == "param")
    wrt = tuple(v for v in (*graph.inputs, *trained) if v.type.dtype.is_float)
    if not wrt:
        raise InputError(f"{graph.name} has no inputs or parameters of floats")
    values = (*graph.inputs, *held)
    return _Checked(replace(graph, inputs=values, parameters=(), updates=()), values, wrt)


def _of_a_step(graph: Graph) -> _Checked:
    """The loss, by the parameters that the step updates."""
    gradient = next((op for op in graph.ops if op.name == "gradient"), None)
    if gradient is None:
        raise InputError(f"{graph.name} has no `gradient` of a loss: it is no train block's step")
    (region,), positions = gradient.regions, gradient.attributes["wrt"]
    wrt = tuple(gradient.operands[position] for position in positions)
    return _Checked(replace(region, results=region.results[:1]), gradient.operands, wrt)


def _loss(graph: Graph, checked: _Checked) -> tuple[Graph, list[Value]]:
    """The region as a graph with parameters among its inputs, and as its one result the sum of its
    results' elements; and the inputs added, by which these are multiplied first."""
    from stepwell.ir.graph import GraphBuilder

    b = GraphBuilder(graph.name, graph.sizes)
    b.constraints += graph.constraints
    values = (*graph.inputs, *(parameter.value for parameter in graph.parameters))
    inputs = {value: b.input(value.name, value.type) for value in values}
    results = b.inline(checked.region, [inputs[value] for value in checked.operands])
    outputs = [value for value in results if value.type.dtype.is_float]
    if not outputs:
        raise InputError(f"{graph.name} has no results of floats, so it has no gradient")
    weights, terms = [], []
    for output in outputs:
        wide = b.op("cast", [output], dtype=F64)
        if wide.type.rank:
            weights.append(b.input("weight", wide.type))
            wide = b.op("mul", [wide, weights[-1]])
            wide = b.op("reduce_sum", [wide], axes=tuple(range(wide.type.rank)))
        terms.append(wide)
    total = terms[0]
    for term in terms[1:]:
        total = b.op("add", [total, term])
    return b.finish([("loss", total)]), weights


def _reports(
    name: str,
    loss: Graph,
    by: Sequence[Value],
    arrays: dict[str, Array],
    samples: int,
    random: np.random.Generator,
) -> Iterator[GradientReport]:
    from stepwell.ir.graph import interpret_graph
    from stepwell.ir.graph.core import TypeRuleError
    from stepwell.ir.graph.derivative import derivative

    wrt = [position for position, value in enumerate(loss.inputs) if value in by]
    try:
        both = derivative(loss, wrt)
    except TypeRuleError as error:
        raise InputError(f"{name}: {error.message}") from None
    gradients = list(interpret_graph(both, arrays, {}, "f64").values())[1:]
    for position, gradient in zip(wrt, gradients, strict=True):
        value = loss.inputs[position]
        chosen = random.permutation(gradient.size)[:samples]
        measured = [_difference(loss, arrays, value.name, int(place)) for place in chosen]
        yield _report(value, gradient, chosen, np.array(measured).reshape(-1, 2))


def _difference(
    loss: Graph, arrays: dict[str, Array], name: str, place: int
) -> tuple[float, float]:
    """The central difference of the loss in one element, and how inexact rounding makes it."""
    from stepwell.ir.graph import interpret_graph

    middle = arrays[name]
    step = STEP * max(1.0, abs(float(middle.reshape(-1)[place])))
    ends = []
    for sign in (1, -1):
        moved = middle.copy()
        moved.reshape(-1)[place] += sign * step
        ends.append(float(interpret_graph(loss, {**arrays, name: moved}, {}, "f64")["loss"]))
    return (ends[0] - ends[1]) / (2 * step), ROUNDING * max(1.0, *map(abs, ends)) / step


def _report(value: Value, gradient: Array, chosen: Array, measured: Array) -> GradientReport:
    found, (differences, rounding) = gradient.reshape(-1)[chosen], measured.T
    if not chosen.size:
        return GradientReport(value.name, str(value.type), 0, 0.0, (), 0.0, 0.0)
    usual = SMALL * max(float(np.abs(differences).max()), float(np.abs(found).max()), 1e-5)
    scale = np.maximum(np.maximum(np.abs(found), np.abs(differences)), usual)
    errors = np.maximum(np.abs(found - differences) - rounding, 0.0) / scale
    errors[~np.isfinite(errors)] = math.inf
    worst = int(np.lexsort((np.abs(found), errors))[-1])
    at = tuple(int(i) for i in np.unravel_index(int(chosen[worst]), gradient.shape))
    return GradientReport(
        value.name, str(value.type), len(chosen), float(errors[worst]), at,
        float(found[worst]), float(differences[worst]),
    )  # fmt: skip
