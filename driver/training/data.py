"""What a run learns from: batches of samples, in an order that the seed and the epoch decide.

In: a path, a mapping, a tuple of arrays, or any iterable of batches; the inputs of the train block.
Out: `Samples` or `Stream`, which give an epoch's batches from any place in it.

    samples = as_data("train.npz", inputs, batch=64)
    for arrays in samples.batches(epoch=0, seed=0): …     ({"image": …, "label": …} in order)

An input whose first axis is the size of the first input's first axis holds one row per sample;
every other is the same for all batches. What is taken as it comes (`Stream`) is not shuffled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stepwell.arrays import Array, as_array
from stepwell.ir.diagnostics import InputError
from stepwell.ir.size import Dim
from stepwell.signature import Argument
from stepwell.suggestions import did_you_mean, listed
from stepwell.training.files import read_arrays
from stepwell.training.order import order
from stepwell.weights import described

Batch = tuple[Array, ...]
DEFAULT_BATCH = 32


class Data(Protocol):
    """Where batches come from, again in each epoch."""

    @property
    def samples(self) -> int | None:
        """How many an epoch has, where that is known."""

    @property
    def batch(self) -> int | None:
        """How many go into a batch, where that is fixed."""

    def require_epochs(self, count: int) -> None:
        """InputError where it is known that there are not so many."""

    def batches(self, epoch: int = 0, seed: int | None = None, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on; shuffled where there is a seed."""


@dataclass(frozen=True)
class Samples:
    """Arrays in memory, or mapped files: any sample can be had at any time."""

    arrays: Batch
    by_sample: tuple[bool, ...]
    samples: int
    batch: int
    whole_only: bool = False  # the last, short batch can't be run

    def require_epochs(self, count: int) -> None:
        """Any number can be had."""

    def batches(self, epoch: int = 0, seed: int | None = None, start: int = 0) -> Iterator[Batch]:
        rows = None if seed is None else order(self.samples, seed, epoch)
        least = self.batch if self.whole_only else 1
        for first in range(start * self.batch, self.samples - least + 1, self.batch):
            last = first + self.batch
            yield self._batch(slice(first, last) if rows is None else rows[first:last])

    def _batch(self, rows: Any) -> Batch:
        return tuple(
            np.ascontiguousarray(array[rows]) if split else array
            for array, split in zip(self.arrays, self.by_sample, strict=True)
        )


@dataclass
class Stream:
    """An iterable of batches, read anew in each epoch."""

    source: Iterable[Any]
    inputs: tuple[Argument, ...]
    samples: int | None = None
    batch: int | None = None

    def require_epochs(self, count: int) -> None:
        """InputError where so many can't be had: a generator gives its batches once."""
        if count > 1 and isinstance(self.source, Iterator):
            raise InputError(
                f"the data can be read once only, and {count} epochs are to be done: pass a list, "
                "or an object that begins anew each time that it is iterated over"
            )

    def batches(self, epoch: int = 0, seed: int | None = None, start: int = 0) -> Iterator[Batch]:
        for number, item in enumerate(self.source):
            if number >= start:
                yield _batch_of(item, self.inputs, f"batch {number}")


def batch_axis(inputs: Sequence[Argument]) -> Dim:
    """The size that counts samples: the first axis of the first input that has one."""
    for item in inputs:
        if item.type.rank:
            return item.type.shape[0]
    raise InputError("no input has an axis: there is nothing to make batches of")


def rows_of(arrays: Batch, inputs: Sequence[Argument]) -> int:
    """How many samples a batch has."""
    return next(len(a) for a, item in zip(arrays, inputs, strict=True) if item.type.rank)


def as_data(
    source: Any, inputs: tuple[Argument, ...], batch: int | None = None, what: str = "the data"
) -> Data:
    """Whatever the caller has as data; `what` they are for messages. InputError says what does not
    fit."""
    if batch is not None and (not isinstance(batch, int) or batch < 1):
        raise InputError(f"batch: {batch!r} is not at least 1")
    if isinstance(source, str | Path):
        return _samples(read_arrays(source), inputs, batch, str(source))
    if isinstance(source, Mapping):
        return _samples(source, inputs, batch, what)
    if isinstance(source, tuple) and all(hasattr(each, "shape") for each in source):
        return _samples(_by_name(source, inputs, what), inputs, batch, what)
    if isinstance(source, np.ndarray):
        return _samples(_by_name((source,), inputs, what), inputs, batch, what)
    if not isinstance(source, Iterable):
        raise InputError(
            f"{what} are a {type(source).__name__}: pass a file, arrays by name, or an iterable "
            "of batches"
        )
    if batch is not None:
        raise InputError("batch: the data come in batches already")
    return Stream(source, inputs)


def _samples(
    given: Mapping[str, Any], inputs: tuple[Argument, ...], batch: int | None, what: str
) -> Samples:
    axis, arrays = batch_axis(inputs), _arrays(given, inputs, what)
    by_sample = tuple(bool(item.type.rank) and item.type.shape[0] == axis for item in inputs)
    counts = {
        item.name: len(array)
        for item, array, split in zip(inputs, arrays, by_sample, strict=True)
        if split
    }
    samples = next(iter(counts.values()))
    if len(set(counts.values())) > 1:
        lengths = ", ".join(f"`{name}` has {count}" for name, count in counts.items())
        raise InputError(f"{what}: not the same number of samples: {lengths}")
    if not samples:
        raise InputError(f"{what}: there are no samples")
    if isinstance(axis, int) and batch not in (None, axis):
        raise InputError(f"batch: {batch}, but the program is for batches of {axis}")
    size = axis if isinstance(axis, int) else batch or DEFAULT_BATCH
    if isinstance(axis, int) and samples < axis:
        raise InputError(f"{what}: {samples} samples, but the program is for batches of {axis}")
    return Samples(arrays, by_sample, samples, size, isinstance(axis, int))


def _arrays(given: Mapping[str, Any], inputs: Sequence[Argument], what: str) -> Batch:
    """Each input's array, of its element type and number of axes."""
    missing = [item for item in inputs if item.name not in given]
    if missing:
        wanted = listed([str(item) for item in missing])
        hint = did_you_mean(missing[0].name, given) or f"; there are {listed(list(given))}"
        raise InputError(f"{what}: no array for {wanted}{hint}")
    return tuple(_array(given[item.name], item, what) for item in inputs)


def _array(value: Any, item: Argument, what: str) -> Array:
    array = as_array(value, item.type.dtype, f"{what}: `{item.name}`")
    fits = array.ndim == item.type.rank and all(
        not isinstance(dim, int) or axis == 0 or length == dim
        for axis, (length, dim) in enumerate(zip(array.shape, item.type.shape, strict=True))
    )
    if not fits:
        raise InputError(
            f"{what}: `{item.name}` is {described(array)}, the program wants {item.type}"
        )
    return array


def _batch_of(item: Any, inputs: tuple[Argument, ...], what: str) -> Batch:
    if not isinstance(item, Mapping):
        item = _by_name(item if isinstance(item, tuple | list) else (item,), inputs, what)
    return _arrays(item, inputs, what)


def _by_name(arrays: Sequence[Any], inputs: Sequence[Argument], what: str) -> dict[str, Any]:
    if len(arrays) != len(inputs):
        names = listed([item.name for item in inputs])
        raise InputError(f"{what}: {len(arrays)} arrays, but the inputs are {names}")
    return {item.name: array for item, array in zip(inputs, arrays, strict=True)}
