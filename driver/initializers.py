"""Parameters without weights: each is drawn from its initialiser, a seed and its path.

In: `glorot_uniform`, `normal(0.02)`, …, a type and a path. Out: an array. Because the path is part
of the seed, the order of parameters does not matter, and adding one leaves the others as they were.

    initialize("normal(0.02)", TensorType(F32, (3, 4)), "fc.weight", seed=0)  →  f32[3, 4]

A weight is `[inputs, outputs]` (as in `x @ w`), a convolution's `[outputs, inputs, *kernel]`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from stepwell.ir.diagnostics import InputError
from stepwell.ir.types import TensorType
from stepwell.suggestions import did_you_mean

Array = np.ndarray[Any, np.dtype[Any]]
Draw = Callable[[np.random.Generator, tuple[int, ...], float | None], Array]

_CALL = re.compile(r"(\w+)(?:\(\s*(?:\w+\s*[:=]\s*)?([^()\s]+)\s*\))?$")


def initialize(initializer: str, type: TensorType, path: str, seed: int = 0) -> Array:
    """The parameter `path` of a model drawn with `seed`. InputError for an unknown initialiser."""
    draw, argument = _parse(initializer, path)
    shape = tuple(int(dim) for dim in type.shape if isinstance(dim, int))
    if len(shape) != type.rank:
        raise InputError(f"parameter `{path}` has a symbolic shape: {type}")
    return draw(_generator(path, seed), shape, argument).astype(type.dtype.numpy)


def _parse(initializer: str, path: str) -> tuple[Draw, float | None]:
    match = _CALL.match(initializer.strip())
    name = match.group(1) if match else initializer
    if match is None or name not in INITIALIZERS:
        hint = did_you_mean(name, INITIALIZERS)
        raise InputError(f"parameter `{path}`: no initialiser is called `{initializer}`{hint}")
    text = match.group(2)
    try:
        return INITIALIZERS[name], None if text is None else float(text)
    except ValueError:
        raise InputError(f"parameter `{path}`: `{initializer}` needs a number") from None


def _generator(path: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(path.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([abs(seed), *words])))


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan in, fan out): how many numbers a unit reads, and how many units read one number."""
    if len(shape) < 2:
        size = math.prod(shape)
        return max(size, 1), max(size, 1)
    if len(shape) == 2:
        return max(shape[0], 1), max(shape[1], 1)
    window = math.prod(shape[2:])
    return max(shape[1] * window, 1), max(shape[0] * window, 1)


def _constant(rng: np.random.Generator, shape: tuple[int, ...], value: float | None) -> Array:
    return np.full(shape, 0.0 if value is None else value)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], std: float | None) -> Array:
    return (1.0 if std is None else std) * rng.standard_normal(shape)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], bound: float | None) -> Array:
    limit = 1.0 if bound is None else bound
    return rng.uniform(-limit, limit, shape)


def _glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...], gain: float | None) -> Array:
    """Glorot and Bengio 2010, equation 16."""
    limit = (1.0 if gain is None else gain) * math.sqrt(6 / sum(fans(shape)))
    return rng.uniform(-limit, limit, shape)


def _he_normal(rng: np.random.Generator, shape: tuple[int, ...], gain: float | None) -> Array:
    """He et al. 2015, equation 10."""
    return (1.0 if gain is None else gain) * math.sqrt(2 / fans(shape)[0]) * _normal(rng, shape, 1)


def _lecun_normal(rng: np.random.Generator, shape: tuple[int, ...], gain: float | None) -> Array:
    """LeCun et al. 1998, section 4.6."""
    return (1.0 if gain is None else gain) * math.sqrt(1 / fans(shape)[0]) * _normal(rng, shape, 1)


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...], gain: float | None) -> Array:
    """Saxe et al. 2013: orthonormal rows or columns, whichever are fewer, uniform over all such."""
    rows = shape[0] if shape else 1
    columns = math.prod(shape[1:])
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    matrix = q if rows >= columns else q.T
    return (1.0 if gain is None else gain) * matrix.reshape(shape)


INITIALIZERS: dict[str, Draw] = {
    "zeros": lambda rng, shape, _: np.zeros(shape),
    "ones": lambda rng, shape, _: np.ones(shape),
    "constant": _constant,
    "normal": _normal,
    "uniform": _uniform,
    "glorot_uniform": _glorot_uniform,
    "he_normal": _he_normal,
    "lecun_normal": _lecun_normal,
    "orthogonal": _orthogonal,
}
