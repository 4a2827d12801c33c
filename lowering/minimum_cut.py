"""The minimum cut of a network: which nodes still reach the sink when the cheapest edges are cut.

In: edges with capacities, a source and a sink. Out: the nodes on the sink's side of the cut that is
nearest to the sink, of those whose capacities add up to least.

    s →∞ a →8 b →∞ t,  a →3 c →∞ t     →     {b, c, t}: cut a → b and a → c

Flow is sent along shortest paths until none is left (Edmonds and Karp, "Theoretical improvements in
algorithmic efficiency for network flow problems", J. ACM 19(2), 1972).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

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
        while path := self._shortest_path(source, sink):
            self._send(path)
        return self._reaching(sink)

    def _shortest_path(self, source: Node, sink: Node) -> list[tuple[Node, Node]]:
        """The edges of a path with capacity left; none where there is no such path."""
        came_from: dict[Node, Node] = {source: source}
        queue = deque([source])
        while queue and sink not in came_from:
            node = queue.popleft()
            for end, capacity in self._residual[node].items():
                if capacity and end not in came_from:
                    came_from[end] = node
                    queue.append(end)
        path: list[tuple[Node, Node]] = []
        while sink in came_from and sink != source:
            path.append((came_from[sink], sink))
            sink = came_from[sink]
        return path

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
