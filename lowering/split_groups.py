"""Split groups: a convolution in few groups is a convolution for each of them.

    %y = conv(%x, %w) {groups = 2, …}

    %x1 = slice(%x) …                    channels of the first group
    %w1 = slice(%w) …                    its weights
    %y1 = conv(%x1, %w1) {groups = 1, …}
    …
    %y = concat(%y1, %y2) {axis = 1}

Slices cost nothing where they are read, and convolutions without groups are what layouts and
schedules know. Depthwise convolutions stay as they are: each channel is a group of its own. So do
those of many groups, whose code would be long, and windows in groups of so few channels that they
fill no vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from stepwell.ir.graph.core import Graph, Op, Value
from stepwell.ir.graph.rewrite import Editor, rewrite
from stepwell.ir.graph.selection import part
from stepwell.ir.size import floordiv
from stepwell.lowering.choose_layouts import reads_rows


@dataclass(frozen=True)
class SplitGroups:
    """`conv` in 2 to `most` groups → slices, convolutions, `concat`. See the module's docstring."""

    most: int = 16
    name: ClassVar[str] = "split_groups"

    def run(self, graph: Graph) -> Graph:
        return rewrite(graph, self._split)

    def _split(self, op: Op, editor: Editor) -> Sequence[Value] | None:
        groups = op.attributes.get("groups", 1)
        if op.name != "conv" or not 1 < groups <= self.most or op.operands[1].type.shape[1] == 1:
            return None
        if reads_rows(op):
            return None
        x, w = op.operands
        inputs, outputs = w.type.shape[1], floordiv(w.type.shape[0], groups)
        pieces: list[Value] = []
        for group in range(groups):
            image = part(editor, x, 1, group * inputs, inputs)
            weights = part(editor, w, 0, group * outputs, outputs)
            attributes = {**op.attributes, "groups": 1}
            hint, span = op.result.name, op.span
            pieces.append(editor.op("conv", [image, weights], hint=hint, span=span, **attributes))
        return [editor.op("concat", pieces, hint=op.result.name, span=op.span, axis=1)]
