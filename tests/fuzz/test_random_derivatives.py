"""Random formulas and random graphs: first and second derivatives against finite differences, and
the pass `differentiate` against the interpreter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from differentiable import FormulaMaker
from hypothesis import assume, given, note, seed, settings
from hypothesis import strategies as st
from random_graphs import arrays_for, random_graph
from seeds import note_seed, seed_of

from stepwell.ir.graph import print_graph
from tests.ops.derivatives import check_derivatives

CASES = 300
SHARES = 2  # so that parallel runs can share the work


@pytest.mark.parametrize("share", range(SHARES))
def test_random_formulas(share: int) -> None:
    smooth = 0
    for number in range(CASES // SHARES):
        case = (seed_of(share), number)
        graph, arrays = FormulaMaker(np.random.default_rng(case)).graph()
        try:
            smooth += check_derivatives(graph, arrays, np.random.default_rng(number))
        except Exception as error:
            raise AssertionError(f"case {case}:\n{print_graph(graph)}") from error
    assert smooth > 0.8 * CASES / SHARES


@pytest.mark.parametrize("share", range(SHARES))
def test_random_graphs(share: int) -> None:
    smooth: list[bool] = []

    @seed(seed_of(share))
    @settings(max_examples=CASES // SHARES)
    @given(st.data())
    def search(data: st.DataObject) -> None:
        note_seed(share)
        graph = random_graph(data, most=8)
        assume(any(value.type.dtype.is_float for _, value in graph.results))
        size = data.draw(st.sampled_from((1, 3)))
        weights = tuple(parameter.value for parameter in graph.parameters)
        plain = replace(graph, inputs=(*graph.inputs, *weights), parameters=())
        note(print_graph(plain))
        smooth.append(check_derivatives(plain, arrays_for(graph, size), np.random.default_rng(0)))

    search()
    assert sum(smooth) > 0.6 * len(smooth)
