"""Convolutions tiled straight from the image: what is scheduled gives what the operator gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from stepwell.ir.dtypes import F16, F32, DType
from stepwell.ir.graph import Graph, GraphBuilder, interpret_graph
from stepwell.ir.loop import interpret_program, verify_program
from stepwell.ir.loop.analysis import kernel_buffers, loads_of
from stepwell.ir.loop.core import Prefetch, Program, statements
from stepwell.ir.size import Dim, symbol
from stepwell.ir.target import named
from stepwell.ir.types import TensorType
from stepwell.lowering.fuse import Fuse
from stepwell.lowering.graph_to_loops import graph_to_loops
from stepwell.lowering.strategies.pixel_tile import choose_pixel_tile
from tests.lowering.test_schedules import TARGETS, random, run_native, scheduled

N = symbol("N")


@dataclass(frozen=True)
class Case:
    x: tuple[Dim, ...]
    w: tuple[Dim, ...]
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    dtype: DType = F32
    last: bool = False  # channels last: what choose_layouts makes of it
    groups: int = 1

    def graph(self) -> Graph:
        builder = GraphBuilder("case", ["N"] if N in self.x else [])
        x = builder.input("x", TensorType(self.dtype, self.x))
        w = builder.input("w", TensorType(self.dtype, self.w))
        b = builder.input("b", TensorType(self.dtype, (self.w[0],)))
        axes = len(self.x) - 2
        if self.last:
            order = [0, axes + 1, *range(1, axes + 1)]
            x = builder.op("transpose", [x], permutation=order)
        y = builder.op(
            "conv",
            [x, w],
            stride=[self.stride] * axes,
            padding_low=[self.padding] * axes,
            padding_high=[self.padding] * axes,
            dilation=[self.dilation] * axes,
            groups=self.groups,
        )
        bias = builder.op("broadcast", [b], shape=y.type.shape, axes=[1])
        y = builder.op("add", [y, bias])
        if self.last:
            y = builder.op("transpose", [y], permutation=[0, *range(2, axes + 2), 1])
        return builder.finish([("out", y)])

    def naive(self) -> Program:
        return graph_to_loops(Fuse().run(self.graph()))


CASES = {
    "padded": Case((N, 3, 9, 19), (5, 3, 3, 3), padding=1),
    "channels last": Case((N, 9, 19, 3), (5, 3, 3, 3), padding=1, last=True),
    "two vectors and a bit": Case((1, 9, 7, 5), (37, 5, 3, 3), padding=1, last=True),
    "strided": Case((N, 11, 15, 3), (20, 3, 5, 5), stride=2, padding=2, last=True),
    "dilated": Case((2, 12, 11, 4), (17, 4, 3, 3), dilation=2, padding=1, last=True),
    "pointwise": Case((N, 7, 7, 20), (33, 20, 1, 1), last=True),
    "strided pointwise": Case((1, 7, 9, 6), (8, 6, 1, 1), stride=2, last=True),
    "one axis": Case((N, 4, 21), (9, 4, 3), padding=1),
    "groups": Case((N, 7, 9, 48), (60, 16, 3, 3), padding=1, last=True, groups=3),
    "groups, channels first": Case((2, 16, 9, 11), (16, 8, 3, 3), stride=2, padding=1, groups=2),
    "halves": Case((1, 3, 8, 8), (16, 3, 3, 3), padding=1, dtype=F16),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_a_tiled_convolution_is_the_operator(name: str, target: str) -> None:
    case = CASES[name]
    program = scheduled(case.naive(), target)
    verify_program(program)
    assert "weights" in kernel_buffers(program.kernels[0])
    tolerance = 1e-2 if case.dtype is F16 else 1e-4
    for n in (0, 1, 2) if N in case.x else (1,):
        types = [TensorType(case.dtype, s) for s in (case.x, case.w, (case.w[0],))]
        arrays = {k: random(t, n) for k, t in zip("xwb", types, strict=True)}
        expected = interpret_graph(case.graph(), arrays)["out"].astype(np.float64)
        interpreted = interpret_program(program, arrays, {})["out"].astype(np.float64)
        np.testing.assert_allclose(interpreted, expected, rtol=tolerance, atol=tolerance)
        native = run_native(program, arrays, n).astype(np.float64)
        np.testing.assert_allclose(native, expected, rtol=tolerance, atol=tolerance)


def test_an_image_is_copied_once_with_its_padding_and_not_per_tap() -> None:
    (kernel,) = scheduled(CASES["channels last"].naive(), "native").kernels
    buffers = kernel_buffers(kernel)
    assert buffers["padded"].shape == (11, 21, 3)


@pytest.mark.parametrize(
    ("image", "packs"), [((2, 20, 8, 16), False), ((1, 20, 7, 9), True), ((2, 999, 8, 16), True)]
)
def test_pixels_side_by_side_are_columns_of_a_product(image: tuple[int, ...], packs: bool) -> None:
    program = scheduled(Case(image, (33, image[1], 1, 1)).naive(), "x86-64-v3")
    (kernel,) = program.kernels
    assert any("b_panels" in name for name in kernel_buffers(kernel)) == packs
    inputs = Case(image, (33, image[1], 1, 1)).graph().inputs
    arrays = {value.name: random(value.type, 1) for value in inputs}
    expected = interpret_graph(Case(image, (33, image[1], 1, 1)).graph(), arrays)["out"]
    native = run_native(program, arrays, 1)
    np.testing.assert_allclose(native, expected, rtol=1e-3, atol=1e-3)


def test_a_pixel_is_one_number_for_all_lanes_the_spare_ones_too() -> None:
    (kernel,) = scheduled(CASES["pointwise"].naive(), "native").kernels
    pixels = [load for load in loads_of(kernel.body) if load.buffer == "x"]
    assert pixels and not any(load.guard for load in pixels)


def test_infinite_weights_meet_the_zeros_of_the_padding() -> None:
    program = scheduled(Case((1, 1, 4, 8), (4, 1, 3, 3), padding=1).naive(), "native")
    arrays = {"x": np.ones((1, 1, 4, 8), "f"), "w": np.full((4, 1, 3, 3), np.inf, "f")}
    out = run_native(program, {**arrays, "b": np.zeros(4, "f")}, 1)
    assert np.isnan(out[0, 0, 0]).all() and np.isinf(out[0, 0, 1, 1:-1]).all()


@pytest.mark.parametrize(
    ("image", "tile"), [((56, 56), (1, 14, 2)), ((7, 7), (2, 7, 2)), ((14, 14), (1, 14, 2))]
)
def test_tiles_divide_the_images_of_networks(
    image: tuple[int, int], tile: tuple[int, int, int]
) -> None:
    chosen = choose_pixel_tile(*image, 64, 576, 16, named("x86-64-v4"))
    assert (chosen.rows, chosen.columns, chosen.vectors) == tile


def test_weights_from_far_are_asked_for_ahead() -> None:
    """Constant panels larger than half the first cache are prefetched in the loop that reads them;
    smaller ones, and weights that are no constants, are not."""
    x, large, small = (TensorType(F32, s) for s in ((1, 64, 7, 7), (512, 64, 3, 3), (16, 64, 1, 1)))
    for weights, constant, expected in ((large, True, 2), (large, False, 0), (small, True, 0)):
        builder = GraphBuilder("case", [])
        image = builder.input("x", x)
        w = builder.parameter("w", weights, "zeros") if constant else builder.input("w", weights)
        settings = {"stride": [2, 2], "dilation": [1, 1], "groups": 1}
        y = builder.op("conv", [image, w], padding_low=[1, 1], padding_high=[1, 1], **settings)
        program = scheduled(graph_to_loops(Fuse().run(builder.finish([("out", y)]))), "x86-64-v4")
        hints = [s for s in statements(program.kernels[0].body) if isinstance(s, Prefetch)]
        assert len({hint.indices for hint in hints}) == expected
