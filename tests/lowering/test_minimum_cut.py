"""`minimum_cut` against every cut of small random networks."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from stepwell.lowering.minimum_cut import Network

NODES = ("a", "b", "c", "d", "e")
Edges = list[tuple[str, str, int]]


def random_edges(seed: int) -> Edges:
    generator = random.Random(seed)
    order = ("source", *NODES, "sink")
    pairs = [pair for pair in combinations(order, 2) if pair != ("source", "sink")]
    return [(a, b, generator.randint(1, 9)) for a, b in pairs if generator.random() < 0.6]


def price(edges: Edges, side: frozenset[str]) -> int:
    """Of the edges that lead to the sink's side."""
    return sum(capacity for a, b, capacity in edges if a not in side and b in side)


@pytest.mark.parametrize("seed", range(40))
def test_the_cheapest_cut_nearest_to_the_sink(seed: int) -> None:
    edges = random_edges(seed)
    network = Network()
    for edge in edges:
        network.edge(*edge)
    sides = [frozenset(("sink", *inner)) for n in range(6) for inner in combinations(NODES, n)]
    least = min(price(edges, side) for side in sides)
    best = [side for side in sides if price(edges, side) == least]
    network.edge("a", "sink", 0)  # in the network, whatever was drawn
    found = network.sink_side("source", "sink")
    assert price(edges, found) == least
    assert all(found <= side for side in best)
