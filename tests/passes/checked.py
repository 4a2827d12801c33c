"""Running a pass as the tests do: with every promise checked.

After the pass: the text parses back to the same graph and is the same again, the verifier is
content, the answers on random inputs are as before, and a second run of the pass changes nothing.
"""

from __future__ import annotations

from typing import Any

from stepwell.ir.checking import check_pass
from stepwell.ir.graph import Graph
from stepwell.ir.passes import format_pass


def run_checked(item: Any, graph: Graph) -> Graph:
    """The graph after the pass. InternalError or AssertionError where it broke a promise."""
    after: Graph = item.run(graph)
    check_pass(item.name, format_pass(item), graph, after)
    again = item.run(after)
    assert again == after, f"{item.name} is not done after one run"
    assert again is after, f"{item.name} makes a new graph where it changes nothing"
    return after
