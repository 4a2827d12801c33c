"""Walking a syntax tree: every node below one, outside first, without recursion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from stepwell.frontend.syntax import Node


def walk(root: Any) -> Iterator[Node]:
    """The node and all nodes below it, in the order of the source."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple):
            stack += reversed(node)
        elif isinstance(node, Node):
            yield node
            stack += [
                getattr(node, f.name)
                for f in reversed(fields(node))
                if f.name not in ("span", "op_span", "head")
            ]
