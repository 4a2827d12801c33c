"""The gradient of a depthwise convolution to its weights: every tap's sum in one walk.

In: a naive nest around a sum over pixels of products of two images channels last, which share their
channel; one of them is read at sums of a pixel's index and a tap's. Out, with channels in lanes:

    for panel of channels {
      acc: [taps, lanes] in registers
      for n {
        stage x with its padding around it, where it has any
        for i, j, every tap, unrolled: acc[p, q] += dy[n, i, j, :] * padded[i + p, j + q, :]
      }
      dw[:, p, q] = acc[p, q]
    }

So both images are read once, and not once for each tap.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from stepwell.ir.loop.analysis import kernel_buffers, loads_of
from stepwell.ir.loop.core import Kernel
from stepwell.ir.scalar import Load, Var, variables
from stepwell.ir.target import Target
from stepwell.lowering.strategies.padding import is_padded, with_padding
from stepwell.lowering.strategies.pieces import extent_of
from stepwell.lowering.strategies.products import Terms, find_terms, without_outer_lets
from stepwell.lowering.transforms.jam import jam
from stepwell.lowering.transforms.navigate import find_loop
from stepwell.lowering.transforms.reassociate import reassociate
from stepwell.lowering.transforms.reorder import reorder
from stepwell.lowering.transforms.simplify import simplify_kernel, without_single_loops
from stepwell.lowering.transforms.split import split


@dataclass(frozen=True)
class _Gradient:
    """The loops: over channels, taps, images, pixels; the image that windows slide over."""

    channel: str
    taps: tuple[str, ...]
    images: tuple[str, ...]
    pixels: tuple[str, ...]
    x: Load


def schedule_depthwise_gradient(kernel: Kernel, target: Target) -> Kernel | None:
    """The kernel with channels in lanes; None where it is no such gradient."""
    kernel = without_single_loops(without_outer_lets(kernel))
    terms = find_terms(kernel)
    found = None if terms is None else _find(kernel, terms)
    if found is None:
        return None
    lanes = target.lanes(found.x.dtype)
    taps = prod(extent_of(kernel, name) for name in found.taps)
    if taps > target.vector_registers - 4 or extent_of(kernel, found.channel) * 2 < lanes:
        return None
    return _scheduled(kernel, found, lanes)


def _find(kernel: Kernel, terms: Terms) -> _Gradient | None:
    channel, *taps = terms.order
    if len(terms.factors) != 2 or not taps:
        return None
    for x, dy in (terms.factors, terms.factors[::-1]):
        if not isinstance(x, Load) or not isinstance(dy, Load) or dy.guard is not None:
            continue
        plain = {e.name for e in dy.indices if isinstance(e, Var)}
        if {x.indices[-1:], dy.indices[-1:]} != {(Var(channel),)} or x.dtype != x.dtype.compute:
            continue
        slid = [variables(e) for e in x.indices if variables(e) & set(taps)]
        pixels = tuple(name for used in slid for name in used if name in terms.reduction)
        images = tuple(name for name in terms.reduction if name not in pixels)
        if plain != {channel, *terms.reduction} or not pixels or len(set(pixels)) != len(pixels):
            continue
        if variables(x) >= {channel, *taps, *terms.reduction} and is_padded(
            x, kernel_buffers(kernel)[x.buffer].shape
        ):
            return _Gradient(channel, tuple(taps), images, pixels, x)
    return None


def _scheduled(kernel: Kernel, found: _Gradient, lanes: int) -> Kernel:
    kernel = reassociate(kernel, (*found.images, *found.pixels))
    panels = split(kernel, found.channel, lanes, "guard", ("panel", "lane"))
    kernel = simplify_kernel(panels.kernel)
    kernel = reorder(kernel, panels.outer, (panels.outer, *found.taps, panels.inner))
    for tap in found.taps:
        kernel = jam(kernel, tap, "unrolled")
    kernel = jam(kernel, panels.inner, "vector")
    return without_single_loops(_padded(kernel, found, lanes))


def _padded(kernel: Kernel, found: _Gradient, lanes: int) -> Kernel:
    """The image with its padding around it in scratch, where it has any."""
    inside = loads_of(find_loop(kernel.body, found.pixels[-1]).body)
    guarded = [load for load in inside if load.buffer == found.x.buffer and load.guard is not None]
    if not guarded:
        return kernel
    return with_padding(kernel, guarded[0], found.pixels[0], lanes)
