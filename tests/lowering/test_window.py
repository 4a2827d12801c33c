"""Windows over images, in either layout: what is scheduled gives what the operators give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from stepwell.ir.dtypes import F32
from stepwell.ir.graph import Graph, GraphBuilder, interpret_graph
from stepwell.ir.loop import interpret_program, verify_program
from stepwell.ir.loop.analysis import loads_of
from stepwell.ir.loop.core import For, Program, statements
from stepwell.ir.size import Dim, symbol
from stepwell.ir.types import TensorType
from stepwell.lowering.fuse import Fuse
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.lowering.strategies.window import tile_size
from tests.lowering.test_schedules import TARGETS, random, run_native, scheduled

N = symbol("N")


@dataclass(frozen=True)
class Case:
    """A window over images [N, H, W, C], or [N, C, H, W]; depthwise, or a pooling."""

    image: tuple[Dim, ...]
    window: int
    stride: int = 1
    padding: int = 0
    pooling: str = ""
    last: bool = True  # channels last

    def graph(self) -> Graph:
        builder = GraphBuilder("case", ["N"] if N in self.image else [])
        x = builder.input("x", TensorType(F32, self.image))
        if self.pooling:
            sides = {"padding_low": (0, self.padding), "padding_high": (0, self.padding)}
            sides |= {"window": (1, self.window), "stride": (1, self.stride), "dilation": (1, 1)}
            order = (0, 1, 1, 0) if self.last else (0, 0, 1, 1)
            every = {name: [pair[axis] for axis in order] for name, pair in sides.items()}
            return builder.finish([("out", builder.op(f"window_{self.pooling}", [x], **every))])
        channels = self.image[-1 if self.last else 1]
        axes = len(self.image) - 2
        w = builder.input("w", TensorType(F32, (channels, 1, *[self.window] * axes)))
        first = builder.op("transpose", [x], permutation=[0, 3, 1, 2]) if self.last else x
        y = builder.op(
            "conv",
            [first, w],
            stride=[self.stride] * axes,
            padding_low=[self.padding] * axes,
            padding_high=[self.padding] * axes,
            dilation=[1] * axes,
            groups=channels,
        )
        out = builder.op("transpose", [y], permutation=[0, 2, 3, 1]) if self.last else y
        return builder.finish([("out", out)])

    def naive(self) -> Program:
        return graph_to_loops(Fuse().run(self.graph()))


CASES = {
    "depthwise": Case((N, 9, 15, 20), 3, padding=1),
    "strided": Case((1, 11, 14, 16), 3, stride=2, padding=1),
    "larger": Case((2, 7, 8, 33), 5, padding=2),
    "all border": Case((1, 2, 3, 16), 5, padding=2),
    "maximum": Case((N, 9, 14, 20), 3, stride=2, padding=1, pooling="max"),
    "sum": Case((2, 8, 8, 16), 2, stride=2, pooling="sum"),
    "few channels": Case((N, 8, 13, 6), 2, stride=2, pooling="max"),
    "rows": Case((N, 3, 17, 37), 3, padding=1, last=False),
    "rows, larger": Case((1, 2, 9, 50), 5, padding=2, last=False),
    "rows, all border": Case((1, 2, 3, 11), 5, padding=2, last=False),
    "a line": Case((N, 3, 75), 7, padding=3, last=False),
    "rows, maximum": Case((2, 3, 16, 32), 3, padding=1, pooling="max", last=False),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_a_tiled_window_is_the_operator(name: str, target: str) -> None:
    case = CASES[name]
    program = scheduled(case.naive(), target)
    verify_program(program)
    for n in (0, 2) if N in case.image else (1,):
        inputs = case.graph().inputs
        arrays = {value.name: random(value.type, n) for value in inputs}
        expected = interpret_graph(case.graph(), arrays)["out"]
        interpreted = interpret_program(program, arrays, {})["out"]
        np.testing.assert_allclose(interpreted, expected, rtol=1e-4, atol=1e-4)
        native = run_native(program, arrays, n)
        np.testing.assert_allclose(native, expected, rtol=1e-4, atol=1e-4)


def test_the_middle_of_an_image_has_no_guards() -> None:
    (kernel,) = scheduled(Case((1, 9, 15, 32), 3, padding=1).naive(), "native").kernels
    loops = [s for s in statements(kernel.body) if isinstance(s, For) and s.extent == 7]
    middles = [loop for loop in loops if loop.kind == "serial"]
    assert any(not [x for x in loads_of((loop,)) if x.guard] for loop in middles)


@pytest.mark.parametrize("image", [(1, 3, 25, 48), (1, 3, 200)])
def test_the_middle_of_rows_has_no_guards_and_all_pieces_share_the_outer_loop(
    image: tuple[int, ...],
) -> None:
    case = Case(image, 3, padding=1, last=False)
    (kernel,) = scheduled(case.naive(), "x86-64-v3").kernels
    (outer,) = [s for s in kernel.body if isinstance(s, For)]
    tiles = [s for s in statements(outer.body) if isinstance(s, For) and s.kind == "serial"]
    assert any(not [x for x in loads_of((tile,)) if x.guard] for tile in tiles)


def test_tiles_divide_the_middle_or_are_as_equal_as_can_be() -> None:
    assert [tile_size(extent, 8) for extent in (54, 27, 12, 5, 13, 1)] == [6, 7, 6, 5, 7, 1]
