"""Parameters without weights: each is drawn from its initialiser, a seed and its path.

In: `glorot_uniform`, `normal(0.02)`, …, a type and a path. Out: an array. Because each path has a
stream of its own, the order of parameters does not matter, and adding one leaves the others.

    initialize("normal(0.02)", TensorType(F32, (3, 4)), "fc.weight", seed=0)  →  f32[3, 4]

A weight is `[inputs, outputs]` (as in `x @ w`), a convolution's `[outputs, inputs, *kernel]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from stepwell.ir.diagnostics import InputError
from stepwell.ir.types import TensorType
from stepwell.random_stream import RandomStream
from stepwell.suggestions import did_you_mean

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]
Draw = Callable[[RandomStream, Shape, float], Array]

_CALL = re.compile(r"(\w+)(?:\(\s*(?:\w+\s*[:=]\s*)?([^()\s]+)\s*\))?$")


def initialize(initializer: str, type: TensorType, path: str, seed: int = 0) -> Array:
    """The parameter `path` of a model drawn with `seed`. InputError for an unknown initialiser."""
    draw, argument = _parse(initializer, path)
    shape = tuple(int(dim) for dim in type.shape if isinstance(dim, int))
    if len(shape) != type.rank:
        raise InputError(f"parameter `{path}` has a symbolic shape: {type}")
    return draw(RandomStream(seed, path), shape, argument).astype(type.dtype.numpy)


def _parse(initializer: str, path: str) -> tuple[Draw, float]:
    match = _CALL.match(initializer.strip())
    name = match.group(1) if match else initializer
    if match is None or name not in INITIALIZERS:
        hint = did_you_mean(name, INITIALIZERS)
        raise InputError(f"parameter `{path}`: no initialiser is called `{initializer}`{hint}")
    draw, usual = INITIALIZERS[name]
    try:
        return draw, usual if match.group(2) is None else float(match.group(2))
    except ValueError:
        raise InputError(f"parameter `{path}`: `{initializer}` needs a number") from None


def fans(shape: Shape) -> tuple[int, int]:
    """(fan in, fan out): how many numbers a unit reads, and how many units read one number."""
    if len(shape) < 2:
        size = math.prod(shape)
        return max(size, 1), max(size, 1)
    if len(shape) == 2:
        return max(shape[0], 1), max(shape[1], 1)
    window = math.prod(shape[2:])
    return max(shape[1] * window, 1), max(shape[0] * window, 1)


def _constant(stream: RandomStream, shape: Shape, value: float) -> Array:
    return np.full(shape, value)


def _uniform(stream: RandomStream, shape: Shape, bound: float) -> Array:
    """Uniform in (-bound, bound): of variance bound^2 / 3."""
    return np.asarray(bound * (2 * stream.uniform(math.prod(shape)) - 1)).reshape(shape)


def _normal(stream: RandomStream, shape: Shape, std: float) -> Array:
    return np.asarray(std * stream.normal(math.prod(shape))).reshape(shape)


def _truncated_normal(stream: RandomStream, shape: Shape, std: float) -> Array:
    """Normal numbers of which those beyond two standard deviations are drawn again."""
    return np.asarray(std * stream.truncated_normal(math.prod(shape))).reshape(shape)


def _glorot(shape: Shape) -> float:
    """Glorot and Bengio 2010, equation 12: the variance 2 / (fan in + fan out)."""
    return math.sqrt(2 / sum(fans(shape)))


def _he(shape: Shape) -> float:
    """He et al. 2015, equation 10: the variance 2 / fan in."""
    return math.sqrt(2 / fans(shape)[0])


def _lecun(shape: Shape) -> float:
    """LeCun et al. 1998, section 4.6: the variance 1 / fan in."""
    return math.sqrt(1 / fans(shape)[0])


def _normal_of(deviation: Callable[[Shape], float]) -> Draw:
    return lambda stream, shape, gain: _normal(stream, shape, gain * deviation(shape))


def _uniform_of(deviation: Callable[[Shape], float]) -> Draw:
    return lambda stream, shape, gain: _uniform(stream, shape, gain * 3**0.5 * deviation(shape))


def _orthogonal(stream: RandomStream, shape: Shape, gain: float) -> Array:
    """Saxe et al. 2013: orthonormal rows or columns, whichever are fewer, uniform over all such."""
    rows = shape[0] if shape else 1
    columns = math.prod(shape[1:])
    tall = _normal(stream, (max(rows, columns), min(rows, columns)), 1.0)
    q, r = np.linalg.qr(tall)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    matrix = q if rows >= columns else q.T
    return gain * matrix.reshape(shape)


# name → how it is drawn, and its argument where none is given
INITIALIZERS: dict[str, tuple[Draw, float]] = {
    "zeros": (lambda stream, shape, _: np.zeros(shape), 0.0),
    "ones": (lambda stream, shape, _: np.ones(shape), 1.0),
    "constant": (_constant, 0.0),
    "uniform": (_uniform, 1.0),
    "normal": (_normal, 1.0),
    "truncated_normal": (_truncated_normal, 1.0),
    "glorot_uniform": (_uniform_of(_glorot), 1.0),
    "glorot_normal": (_normal_of(_glorot), 1.0),
    "he_uniform": (_uniform_of(_he), 1.0),
    "he_normal": (_normal_of(_he), 1.0),
    "lecun_normal": (_normal_of(_lecun), 1.0),
    "orthogonal": (_orthogonal, 1.0),
}
