"""Convolutions one by one: how much of the multiply-add rate each reaches, and peers beside it.

    python benchmarks/convolutions.py                            pointwise ones, one thread
    python benchmarks/convolutions.py users --threads 1,2 --against onnxruntime,openvino

Each row is a model of one layer and its bias, with one line per number of threads. The image is
channels last, as it is between the layers of a network; with peers it is channels first for all.
Rates count the arithmetic of the definition, so that Winograd's method may exceed 100 %; the
ceilings are measured in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import stepwell as sw
from stepwell.bench.ceilings import measure
from stepwell.bench.timing import in_turns


@dataclass(frozen=True)
class Layer:
    """A convolution between `channels` on images of these extents."""

    channels: tuple[int, int]
    image: tuple[int, ...]
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    batch: int = 1

    @property
    def margin(self) -> int:
        """Padding that keeps the extents where the stride is 1."""
        return self.dilation * (self.kernel - 1) // 2

    @property
    def result(self) -> tuple[int, ...]:
        return tuple((extent - 1) // self.stride + 1 for extent in self.image)

    @property
    def weight(self) -> tuple[int, ...]:
        taken, given = self.channels
        return (given, taken // self.groups, *[self.kernel] * len(self.image))

    @property
    def flops(self) -> float:
        return 2.0 * self.batch * np.prod(self.result) * np.prod(self.weight)

    def __str__(self) -> str:
        parts = ["{} → {}".format(*self.channels), "×".join(map(str, self.image))]
        rest = {"kernel": self.kernel, "stride": self.stride, "groups": self.groups}
        rest |= {"dilation": self.dilation, "batch": self.batch}
        return ", ".join(parts + [f"{name} {value}" for name, value in rest.items() if value > 1])

    def source(self, first: bool) -> str:
        """The layer as a program, its images channels first or last."""
        axes = list(range(1, len(self.image) + 1))
        taken, given = self.channels
        x, y = [taken, *self.image], [given, *self.result]
        turn = f"transpose(x, {[0, axes[-1] + 1, *axes]})"
        back = f"transpose(y, {[0, *(axis + 1 for axis in axes), 1]})"
        if not first:
            x, y = [*x[1:], x[0]], [*y[1:], y[0]]
        sizes = f"stride: {self.stride}, padding: {self.margin}, dilation: {self.dilation}"
        return f"""\
model one(x: f32{[self.batch, *x]}) -> f32{[self.batch, *y]} {{
    param weight: f32{list(self.weight)} = he_normal
    param bias: f32[{given}] = zeros
    let image = {"x" if first else turn}
    let sums = conv(image, weight, {sizes}, groups: {self.groups})
    let y = sums + along(bias, sums, axis: 1)
    {"y" if first else back}
}}
"""


def _pointwise() -> list[Layer]:
    """Those of MobileNetV2 and ResNet-50 at 224 × 224; equal channels; few channels."""
    mobile = [
        (112, 32, 16), (112, 16, 96), (56, 96, 24), (56, 24, 144), (56, 144, 24), (28, 144, 32),
        (28, 32, 192), (28, 192, 32), (14, 192, 64), (14, 64, 384), (14, 384, 64), (14, 384, 96),
        (14, 96, 576), (14, 576, 96), (7, 576, 160), (7, 160, 960), (7, 960, 160), (7, 960, 320),
        (7, 320, 1280),
    ]  # fmt: skip
    residual = [(56, 64, 256), (56, 256, 64), (28, 128, 512), (28, 512, 128), (14, 256, 1024),
                (14, 1024, 256), (7, 512, 2048), (7, 2048, 512)]  # fmt: skip
    equal = [(size, c, c) for c in (64, 128, 256) for size in (56, 28, 14, 7)]
    few = [(56, c, c) for c in (24, 40, 96, 144)]
    return [Layer((a, b), (size, size)) for size, a, b in (*equal, *few, *mobile, *residual)]


def _users() -> list[Layer]:
    """What networks have beside that: batches, windows of 5 and 7, holes, groups, one and three
    axes."""
    large = [Layer((64, 64), (56, 56), 3, batch=n) for n in (1, 8, 32)]
    deep = [Layer((512, 512), (7, 7), 3, batch=n) for n in (1, 8, 32)]
    strided = [Layer((64, 128), (56, 56), 3, 2), Layer((64, 128), (56, 56), 1, 2)]
    stems = [Layer((3, 64), (224, 224), 7, 2), Layer((3, 32), (224, 224), 3, 2)]
    windows = [Layer((64, 64), (28, 28), 5), Layer((64, 64), (28, 28), 7)]
    holes = [Layer((64, 64), (28, 28), 3, dilation=2), Layer((256, 256), (28, 28), 3, dilation=4)]
    groups = [Layer((c, c), (s, s), 3, groups=32) for c, s in ((128, 56), (256, 28), (512, 14))]
    groups += [Layer((256, 256), (28, 28), 3, groups=64), Layer((1024, 1024), (7, 7), 3, groups=32)]
    groups += [Layer((128, 128), (28, 28), 1, groups=4), Layer((240, 240), (28, 28), 1, groups=3)]
    depthwise = [Layer((c, c), (s, s), k, t, groups=c) for c, s, k, t in
                 ((96, 112, 3, 2), (384, 14, 3, 1), (960, 7, 3, 1), (240, 28, 5, 1))]  # fmt: skip
    lines = [
        Layer((64, 64), (4096,), 3),
        Layer((1, 64), (16000,), 9, 4),
        Layer((256, 256), (256,), 5),
    ]
    lines += [Layer((64, 64), (4096,), 3, dilation=8), Layer((256, 256), (1024,), 31, groups=256)]
    solids = [Layer((32, 32), (16, 32, 32), 3), Layer((3, 32), (16, 64, 64), 3, 2)]
    return [*large, *deep, *strided, *stems, *windows, *holes, *groups, *depthwise, *lines, *solids]


LISTS: dict[str, Callable[[], list[Layer]]] = {"pointwise": _pointwise, "users": _users}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("list", nargs="?", default="pointwise", choices=LISTS)
    parser.add_argument("--only", default="", help="rows whose text holds this")
    parser.add_argument("--threads", default="1", help="on how many, such as 1,2")
    parser.add_argument("--against", default="", help="peers, such as torch,onnxruntime,openvino")
    parser.add_argument("--seconds", type=float, default=0.2, help="spent on each contender")
    options = parser.parse_args()
    peers = [name for name in options.against.split(",") if name]
    counts = [int(text) for text in options.threads.split(",")]
    ceilings = {count: measure(count).flops for count in counts}
    told = ", ".join(f"{flops / 1e9:.0f} on {n}" for n, flops in ceilings.items())
    print(f"GFLOP/s of multiply-adds, by threads: {told}\n")
    columns = ["layer", "threads", "µs", "GFLOP/s", "of the rate", *(f"{p}, µs" for p in peers)]
    print("| " + " | ".join(columns) + " |\n|---|" + "---:|" * (len(columns) - 1))
    for layer in (layer for layer in LISTS[options.list]() if options.only in str(layer)):
        for count in counts:
            ours, *theirs = _medians(layer, count, peers, options.seconds)
            rate = layer.flops / ours
            cells = [f"{ours * 1e6:.1f}", f"{rate / 1e9:.0f}", f"{rate / ceilings[count]:.0%}"]
            cells += [f"{seconds * 1e6:.1f}" for seconds in theirs]
            print(f"| {layer} | {count} | {' | '.join(cells)} |", flush=True)


def _medians(layer: Layer, threads: int, peers: Sequence[str], seconds: float) -> list[float]:
    """Seconds of a call: ours, then the peers'. SystemExit where one computes something else."""
    first, generator = bool(peers), np.random.default_rng(0)
    taken = layer.channels[0]
    shape = (taken, *layer.image) if first else (*layer.image, taken)
    x = generator.standard_normal((layer.batch, *shape), np.float32)
    weight = generator.standard_normal(layer.weight, np.float32) / layer.weight[1]
    weights = {"weight": weight, "bias": generator.standard_normal(layer.weight[0], np.float32)}
    model = sw.compile(layer.source(first), weights=weights, threads=threads)
    calls: dict[str, Callable[[], object]] = {"stepwell": model.native_call(x)}
    with tempfile.TemporaryDirectory() as folder:
        for name in peers:
            calls[name] = _peer(name, layer, weights, x, model(x), threads, Path(folder))
    return [spread.median for spread in in_turns(calls, seconds).values()]


def _peer(
    name: str, layer: Layer, weights: dict[str, Any], x: Any, ours: Any, threads: int, folder: Path
) -> Callable[[], object]:
    import torch

    from stepwell.bench.peers import PEERS, ModuleCase, agree

    kind = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[len(layer.image) - 1]
    sizes = {"padding": layer.margin, "dilation": layer.dilation, "groups": layer.groups}
    module = kind(*layer.channels, layer.kernel, layer.stride, **sizes)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    peer = PEERS[name].prepare(ModuleCase(module.eval(), [x], folder), threads)
    if difference := agree([ours], peer.results(peer.call())):
        raise SystemExit(f"{layer}: {name} computes something else: {difference}")
    return peer.call


if __name__ == "__main__":
    main()
