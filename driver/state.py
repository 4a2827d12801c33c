"""The state of a compiled program: what its runs read and write in place, in one aligned block.

In: a signature; a weights file or a mapping, or the initialisers and a seed. Out: a `StateBlock`,
whose arrays are views of the block:

    state = StateBlock.of(signature, {"dense.weight": w})
    state.arrays["dense.weight"]      f32[784, 10], writable: what the next run reads
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stepwell.arrays import Array
from stepwell.codegen.blocks import address, aligned_block
from stepwell.ir.diagnostics import InputError
from stepwell.signature import Signature
from stepwell.weights import Drawn, StateSpec, Weights, matched, read_weights

SEED = "random.seed"  # the state that a program's random numbers are drawn with
_BESIDE_THE_MODEL = ("optimizer.", "random.")  # how the paths of a run's own states begin


class StateBlock:
    """The states of one program by path. A run changes them; runs of one block do not overlap."""

    def __init__(self, signature: Signature) -> None:
        self.specs = signature.states
        self.block = aligned_block(signature.state_size)
        self.address = address(self.block)
        self.arrays: Mapping[str, Array] = {spec.path: self._view(spec) for spec in self.specs}

    @classmethod
    def of(
        cls, signature: Signature, weights: str | Path | Weights | None = None, seed: int = 0
    ) -> StateBlock:
        """A block with what is given; what is not is drawn by its initialiser. InputError where a
        trained one is missing from weights that are given, or one does not fit."""
        state = cls(signature)
        given = read_weights(weights)
        drawn = Drawn(state.specs, seed)
        own = {
            spec.path: drawn[spec.path] if given is None else given[spec.path]
            for spec in state.specs
            if given is None or spec.path in given
        }
        for spec in state.specs:
            if not spec.trained and spec.path not in own:
                own[spec.path] = drawn[spec.path]
        for path, array in matched(state.specs, own, signature.name).items():
            state.arrays[path][...] = array
        state.set_seed(seed)
        return state

    @classmethod
    def read(cls, signature: Signature, path: Path) -> StateBlock:
        """A block from a `.state` file, which holds it as it is. InputError for a misfit."""
        state = cls(signature)
        try:
            data = np.fromfile(path, np.uint8)
        except FileNotFoundError:
            raise InputError(f"no file {path}") from None
        except OSError as error:
            raise InputError(f"can't read {path}: {error.strerror}") from None
        if data.size != signature.state_size:
            sizes = f"{data.size} bytes, and the state has {signature.state_size}"
            raise InputError(f"{path} is not of this `{signature.name}`: it has {sizes}")
        state.block[: data.size] = data
        return state

    def set_seed(self, seed: int) -> None:
        """What random numbers are drawn with from now on, if any are."""
        if SEED in self.arrays:
            self.arrays[SEED][...] = seed

    def _view(self, spec: StateSpec) -> Array:
        part = self.block[spec.offset : spec.offset + spec.bytes]
        return part.view(spec.type.dtype.numpy).reshape([int(str(dim)) for dim in spec.type.shape])

    def __repr__(self) -> str:
        lines = [f"  {spec.path}: {spec.type}" for spec in self.specs]
        return "\n".join([f"{len(lines)} states, {self.block.nbytes} bytes", *lines])


def is_of_the_model(path: str) -> bool:
    """Whether a parameter or state is the model's, not the run's that trains it."""
    return not path.startswith(_BESIDE_THE_MODEL)


def of_the_model(weights: Weights) -> Weights:
    """What of weights, or of a checkpoint, is the model's."""
    return {path: weights[path] for path in weights if is_of_the_model(path)}


def without_states(signature: Signature, weights: Weights) -> Weights:
    """Weights for what a program only reads: those without its states."""
    states = {spec.path for spec in signature.states}
    return {path: weights[path] for path in weights if path not in states}
