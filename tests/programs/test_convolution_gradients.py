"""Gradients of convolutions and poolings in native code, channels last: those of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn import functional

import stepwell as sw
from stepwell.ir.dtypes import F32
from stepwell.ir.graph import GraphBuilder, Op, Value, print_graph
from stepwell.ir.graph.core import NotDifferentiable
from stepwell.ir.types import TensorType


@dataclass(frozen=True)
class Case:
    """y = f(conv(x, before), w), where f is a convolution, or a pooling if there is no w."""

    x: tuple[int, ...]
    before: tuple[int, ...]
    w: tuple[int, ...] = ()
    window: int = 0  # of a pooling
    kind: str = "max"
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def graph(self) -> str:
        """The gradients of ½ Σ y² to the image and the weights."""
        b = GraphBuilder("gradients")
        shapes = {"x": self.x, "before": self.before, "w": self.w}
        x, before, w = (b.input(n, TensorType(F32, s)) for n, s in shapes.items())
        image = b.op("conv", [x, before], **_geometry((1,) * 2, (0,) * 2, (1,) * 2), groups=1)
        dy = self._last(b, image, w)
        found = _gradient(b, b.ops[-1], dy)
        results = [("image", found[0])] + [("w", value) for value in found[1:]]
        return print_graph(b.finish(results))

    def _last(self, b: GraphBuilder, image: Value, w: Value) -> Value:
        two = [(size, size) for size in (self.stride, self.padding, self.dilation)]
        if self.w:
            return b.op("conv", [image, w], **_geometry(*two), groups=self.groups)
        stride, padding = (1, 1, *two[0]), (0, 0, *two[1])
        window = (1, 1, self.window, self.window)
        geometry = _geometry(stride, padding, (1,) * 4)
        return b.op(f"window_{self.kind}", [image], window=window, **geometry)

    def reference(self, image: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        given = {"stride": self.stride, "padding": self.padding}
        if self.w:
            return functional.conv2d(image, w, **given, dilation=self.dilation, groups=self.groups)  # type: ignore[arg-type]
        if self.kind == "max":
            return functional.max_pool2d(image, self.window, **given)
        return functional.avg_pool2d(image, self.window, **given) * self.window**2


def _geometry(
    stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> dict[str, Sequence[int]]:
    return {
        "stride": stride, "padding_low": padding, "padding_high": padding, "dilation": dilation
    }  # fmt: skip


def _gradient(b: GraphBuilder, op: Op, dy: Value) -> list[Value]:
    rule = op.definition.gradient
    assert not isinstance(rule, NotDifferentiable)
    return [value for value in rule(b, op, [dy]) if value is not None]


IMAGE = ((3, 5, 12, 11), (32, 5, 1, 1))
CASES = {
    "3x3": Case(*IMAGE, (48, 32, 3, 3), padding=1),
    "3x3, stride 2": Case(*IMAGE, (48, 32, 3, 3), padding=1, stride=2),
    "1x1, stride 2": Case(*IMAGE, (48, 32, 1, 1), stride=2),
    "5x5, stride 3": Case(*IMAGE, (20, 32, 5, 5), padding=2, stride=3),
    "dilated": Case(*IMAGE, (17, 32, 3, 3), padding=2, dilation=2),
    "more padding than reach": Case(*IMAGE, (8, 32, 1, 1), padding=1),
    "grouped": Case(*IMAGE, (16, 8, 3, 3), padding=1, groups=4),
    "depthwise": Case(*IMAGE, (32, 1, 3, 3), padding=1, groups=32),
    "depthwise, stride 2": Case(*IMAGE, (32, 1, 3, 3), padding=1, stride=2, groups=32),
    "few channels": Case((2, 3, 9, 9), (3, 3, 1, 1), (6, 3, 5, 5), padding=2),
    "maximum, 2x2": Case(*IMAGE, window=2, stride=2),
    "maximum, 3x3 that overlap": Case(*IMAGE, window=3, stride=2, padding=1),
    "sum, 2x2": Case(*IMAGE, window=2, stride=2, kind="sum"),
    "sum, 3x3 that overlap": Case(*IMAGE, window=3, stride=1, padding=1, kind="sum"),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_torch(name: str) -> None:
    case = CASES[name]
    model = sw.compile(case.graph(), cache=False, threads=2)
    random = np.random.default_rng(3)
    given = {k: random.normal(size=getattr(case, k)).astype("f") for k in ("x", "before", "w")}
    out = model(**given)
    x, before, w = (torch.from_numpy(array).double() for array in given.values())
    image = functional.conv2d(x, before).requires_grad_()
    w.requires_grad_()
    (case.reference(image, w) ** 2 / 2).sum().backward()
    found = out if isinstance(out, tuple) else (out,)
    for array, leaf in zip(found, (image, w), strict=False):
        assert leaf.grad is not None
        expected = leaf.grad.numpy()
        scale = np.abs(expected).max()
        np.testing.assert_allclose(array, expected, rtol=0, atol=2e-5 * scale)
