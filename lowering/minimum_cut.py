"""The minimum cut of a network: which nodes still reach the sink when the cheapest edges are cut.

In: edges with capacities, a source and a sink. Out: the nodes on the sink's side of the cut that is
nearest to the sink, of those whose capacities add up to least.

    s →∞ a →8 b →∞ t,  a →3 c →∞ t     →     {b, c, t}: cut a → b and a → c

Flow is sent along all shortest paths, then along longer ones (Dinic, "Algorithm for solution of a
problem of maximum flow in a network with power estimation", 1970).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping

Node = Hashable


class Network:
    """Directed edges with capacities; no two nodes are joined both ways."""

    def __init__(self) -> None:
        self._residual: dict[Node, dict[Node, int]] = {}

    def edge(self, start: Node, end: Node, capacity: int) -> None:
        """An edge; what comes again adds up."""
        ahead, back = (self._residual.setdefault(node, {}) for node in (start, end))
        ahead[end] = ahead.get(end, 0) + capacity
        back.setdefault(start, 0)

    def sink_side(self, source: Node, sink: Node) -> frozenset[Node]:
        """The nodes that reach the sink once the cheapest edges are cut. Uses the network up."""
        self.edge(source, sink, 0)
        while sink in (levels := self._levels(source)):
            search = _Search(self._residual, levels)
            while path := search.path(source, sink):
                self._send(path)
        return self._reaching(sink)

    def _levels(self, source: Node) -> dict[Node, int]:
        """How many edges with capacity left lead from the source to each node that it reaches."""
        levels: dict[Node, int] = {source: 0}
        queue = deque([source])
        while queue:
            node = queue.popleft()
            for end, capacity in self._residual[node].items():
                if capacity and end not in levels:
                    levels[end] = levels[node] + 1
                    queue.append(end)
        return levels

    def _send(self, path: list[tuple[Node, Node]]) -> None:
        amount = min(self._residual[start][end] for start, end in path)
        for start, end in path:
            self._residual[start][end] -= amount
            self._residual[end][start] += amount

    def _reaching(self, sink: Node) -> frozenset[Node]:
        found, stack = {sink}, [sink]
        while stack:
            node = stack.pop()
            for start in self._residual[node]:
                if self._residual[start][node] and start not in found:
                    found.add(start)
                    stack.append(start)
        return frozenset(found)


class _Search:
    """Shortest paths one after the other; an edge that led nowhere is not tried again."""

    def __init__(
        self, residual: Mapping[Node, Mapping[Node, int]], levels: Mapping[Node, int]
    ) -> None:
        self._residual, self._levels = residual, levels
        self._ends = {node: list(residual[node]) for node in levels}

    def path(self, source: Node, sink: Node) -> list[tuple[Node, Node]]:
        """The edges of a path with capacity left; none where there is no such path."""
        path: list[tuple[Node, Node]] = []
        node = source
        while node != sink:
            ends = self._ends[node]
            while ends and not self._leads_on(node, ends[-1]):
                ends.pop()
            if ends:
                path.append((node, ends[-1]))
                node = ends[-1]
            elif not path:
                return []
            else:
                node, _ = path.pop()
                self._ends[node].pop()
        return path

    def _leads_on(self, node: Node, end: Node) -> bool:
        further = self._levels.get(end) == self._levels[node] + 1
        return further and self._residual[node][end] > 0
