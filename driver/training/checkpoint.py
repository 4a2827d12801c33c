"""Checkpoints: all that a run needs to go on to the same bits, in one safetensors file.

In: arrays by path, where the run is. Out: a file, written to the side and renamed, so that there is
always a whole one. Its metadata:

    stepwell.checkpoint   the format, "1"
    train                 the name of the train block
    program               the digest of its source
    seed                  of parameters, random numbers and the order of samples
    position              JSON: steps, epochs, the place in the epoch, sums so far, records, how
                          many samples a batch and an epoch have

The arrays are the parameters and states under their paths, the optimiser's as
`optimizer.<path>.<name>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stepwell.arrays import Array
from stepwell.ir.diagnostics import InputError
from stepwell.safetensors_file import SafetensorsFile, write_safetensors
from stepwell.training.position import Position

FORMAT = "1"
_FORMAT_KEY = "stepwell.checkpoint"


@dataclass(frozen=True)
class Origin:
    """Which run a checkpoint is from."""

    train: str
    program: str
    seed: int


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds; arrays are views of it."""

    arrays: Mapping[str, Array]
    origin: Origin
    position: Position


def write_checkpoint(
    path: Path, arrays: Mapping[str, Array], origin: Origin, position: Position
) -> None:
    """Replace the file at `path`; it is on the disk when this returns. OSError."""
    metadata = {
        _FORMAT_KEY: FORMAT,
        "train": origin.train,
        "program": origin.program,
        "seed": str(origin.seed),
        "position": position.text(),
    }
    write_safetensors(path, arrays, metadata, durable=True)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """InputError where the file can't be read, or is no checkpoint."""
    try:
        file = SafetensorsFile(Path(path))
    except FileNotFoundError:
        raise InputError(f"no checkpoint {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"can't read the checkpoint {path}: {error}") from None
    about = file.metadata
    found = about.get(_FORMAT_KEY)
    if found is None:
        raise InputError(
            f"{path} is no checkpoint: it holds weights, but not where a run was; pass them as "
            "weights instead"
        )
    if found != FORMAT:
        raise InputError(f"{path} is a checkpoint of another Stepwell: format {found}")
    try:
        origin = Origin(about["train"], about["program"], int(about["seed"]))
        return Checkpoint(file, origin, Position.of(about["position"]))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"can't read the checkpoint {path}: {error}") from None


def steps_in(path: Path) -> int:
    """How many steps the run of a checkpoint has done: none where there is no file. InputError
    where the file is another's."""
    return read_checkpoint(path).position.step if path.exists() else 0


def drop_leavings(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` left beside it."""
    for side in path.parent.glob(f".{path.name}.*.part"):
        side.unlink(missing_ok=True)
