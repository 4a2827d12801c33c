"""A run: epochs of steps, what is kept of it on the way, and how it ends.

In: a trainer, data. Out: the trainer trained; a checkpoint that is never older than was asked for;
listeners that heard of every step and epoch.

    epoch:  for each batch   step · tell · keep where it is time        evaluate · tell · keep

However a run ends, the checkpoint is whole and the steps after it are all that is lost. A signal
ends it after the step and one more checkpoint, and so do data that do not fit and a listener that
fails. A loss that is no finite number ends it with the op that made it (`nonfinite.py`), found by
going through the steps since the checkpoint again.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.ir.diagnostics import InputError, UserError
from stepwell.training.checkpoint import drop_leavings, read_checkpoint, steps_in
from stepwell.training.data import Batch, Data, Samples, rows_of
from stepwell.training.interruption import Interruption
from stepwell.training.listeners import Listener, Listeners, Plan
from stepwell.training.nonfinite import blame, finite
from stepwell.training.position import Record
from stepwell.training.spoiled import Spoiled

if TYPE_CHECKING:
    from stepwell.training.trainer import Trainer

_REMEMBERED = 2**28  # bytes of batches that come only once, between two checkpoints


@dataclass
class Keeping:
    """Where the checkpoint is, and how old it may get; without a path it goes when the run ends."""

    path: Path | None = None
    seconds: float = 60.0
    steps: int | None = None
    overwrite: bool = False  # what another run kept there
    _since: float = field(default_factory=time.perf_counter)
    _step: int = 0

    def __post_init__(self) -> None:
        if self.path is not None and self.path.suffix != ".safetensors":
            raise InputError(f"checkpoint {self.path}: the name must end in .safetensors")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps between checkpoints: {self.steps} is not at least 1")

    def require_free(self, step: int) -> None:
        """InputError where a checkpoint would be lost that is further than `step`."""
        if self.path is None or self.overwrite:
            return
        done = steps_in(self.path)
        if done > step:
            raise InputError(
                f"{self.path} holds a run of {done} steps, this one has done {step}: `resume` goes "
                "on from there, overwrite=True begins anew, another name keeps both"
            )

    def due(self, step: int) -> bool:
        """Whether it is time for one."""
        if self.steps is not None and step - self._step >= self.steps:
            return True
        return time.perf_counter() - self._since >= self.seconds

    def kept(self, step: int) -> None:
        """One was written."""
        self._since, self._step = time.perf_counter(), step


def listeners_for(
    log: str | Path | None,
    logdir: str | Path | None,
    plot: str | Path | None,
    show: bool,
    more: tuple[Listener, ...] = (),
) -> Listeners:
    """Those that were asked for. InputError where one is none, or its package or folder is
    missing."""
    found: list[Listener] = []
    for each in more:
        if not isinstance(each, Listener):
            raise InputError(f"listeners: {each!r} is no Listener")
    if log is not None:
        from stepwell.training.log import JsonLines

        found.append(JsonLines(log))
    if logdir is not None:
        from stepwell.training.event_files import EventFiles

        found.append(EventFiles(logdir))
    if plot is not None:
        from stepwell.training.curves import Curves

        found.append(Curves(plot))
    if show:
        from stepwell.training.display import display

        found.append(display())
    return Listeners((*found, *more))  # ours have heard what others fail at


@dataclass
class Run:
    """One call of `fit`."""

    trainer: Trainer
    data: Data
    valid: Data | None
    epochs: int
    shuffle: bool
    keeping: Keeping
    listeners: Listener
    _path: Path = field(init=False)
    _passed: list[Batch] = field(default_factory=list)  # since the checkpoint, if they come once
    _bytes: int = 0
    _spoiled: Spoiled = field(init=False)

    def __post_init__(self) -> None:
        self._spoiled = Spoiled(self.trainer.model.signature.inputs, self.listeners)

    def go(self) -> None:
        """To the end, or to a signal."""
        if not isinstance(self.epochs, int) or self.epochs < 1:
            raise InputError(f"epochs: {self.epochs!r} is not at least 1")
        self.keeping.require_free(self.trainer.position.step)
        for data in (self.data, self.valid):
            if data is not None:
                data.require_epochs(self.epochs - self.trainer.position.epoch)
        if self.valid is not None:
            self.trainer.evaluation()  # compiled before anything is shown
        with tempfile.TemporaryDirectory() as aside, Interruption() as interruption:
            self._path = self.keeping.path or Path(aside) / "run.safetensors"
            drop_leavings(self._path)
            self._begin()
            self._told(interruption)
        interruption.deliver()

    def _begin(self) -> None:
        """The first checkpoint: of nothing but where the run begins, or goes on."""
        position, cut = self.trainer.position, (self.data.batch, self.data.samples)
        if position.batch and position.cut != cut:
            raise InputError(
                f"the run stopped within an epoch of {_cut_text(position.cut)}; "
                f"it can't go on with {_cut_text(cut)}"
            )
        position.cut = cut
        if not finite(self.trainer):
            raise InputError("the parameters hold numbers that are not finite: nothing was done")
        self._keep()

    def _told(self, interruption: Interruption) -> None:
        position = self.trainer.position
        try:
            self.listeners.begin(self._plan(), position)
            while position.epoch < self.epochs and not interruption.signal:
                self._epoch(interruption)
            if interruption.signal and self.keeping.path is not None:
                self.listeners.say(f"stopped after step {position.step}: see {self._path}")
        except UserError:
            raise  # the checkpoint is from before that step
        except Exception:  # whatever a listener raises: it goes on, after a checkpoint
            with contextlib.suppress(OSError):  # the disk may be what failed
                self._keep()
            raise
        finally:
            self.listeners.end(self.trainer.position)

    def _plan(self) -> Plan:
        trainer, data = self.trainer, self.data
        return Plan(trainer.name, self.epochs, data.samples, data.batch, trainer.graph)

    def _batches(self, start: int) -> Iterator[Batch]:
        seed = self.trainer.seed if self.shuffle else None
        return self.data.batches(self.trainer.position.epoch, seed, start)

    def _epoch(self, interruption: Interruption) -> None:
        position, last = self.trainer.position, time.perf_counter()
        for arrays in self._batches(position.batch):
            self._step(arrays, last)
            last = time.perf_counter()
            if interruption.signal or self._due():
                self._keep()
            if interruption.signal:
                return
        if not position.means.samples:
            raise InputError("the data gave no batch")
        record = self._record()
        position.next_epoch(record)
        self.listeners.epoch(position, record)
        self._keep()

    def _step(self, arrays: Batch, start: float) -> None:
        trainer = self.trainer
        if not isinstance(self.data, Samples):
            self._passed.append(arrays)
            self._bytes += sum(array.nbytes for array in arrays)
        try:
            results = trainer.step(*arrays)
        except InputError as error:
            raise InputError(f"step {trainer.position.step + 1}: {error}") from None
        if not math.isfinite(next(iter(results.values()))):
            raise self._blame()
        rows, now = rows_of(arrays, trainer.model.signature.inputs), time.perf_counter()
        place = f"epoch {trainer.position.epoch + 1}, from step {trainer.position.step} on"
        trainer.position.stepped(results, rows, now - start)
        self._spoiled.look(results, place, arrays)
        self.listeners.step(trainer.position, results, rows)

    def _record(self) -> Record:
        """What came of the epoch."""
        position = self.trainer.position
        record: Record = {"epoch": position.epoch + 1, "step": position.step}
        record |= position.means.values()
        if self.valid is not None:
            found = self.trainer.means(self.valid.batches(), self._heard)
            record |= {f"valid_{name}": value for name, value in found.items()}
        rate = position.means.samples / max(position.seconds, 1e-9)
        return record | {"samples_per_second": rate, "seconds": position.seconds}

    def _heard(self, first: int, results: Mapping[str, float], arrays: Batch) -> None:
        epoch = self.trainer.position.epoch + 1
        place = f"epoch {epoch}, from sample {first} of the held-out data on"
        self._spoiled.look(results, place, arrays, "valid ")

    def _due(self) -> bool:
        return self._bytes > _REMEMBERED or self.keeping.due(self.trainer.position.step)

    def _keep(self) -> None:
        """A checkpoint; but never one of which nothing good can come."""
        if not finite(self.trainer):
            raise self._blame()
        self.trainer.checkpoint(self._path)
        self.keeping.kept(self.trainer.position.step)
        self._passed.clear()
        self._bytes = 0

    def _blame(self) -> Exception:
        """Through the steps since the checkpoint again; the trainer is left before the bad one."""
        base = read_checkpoint(self._path)

        def again() -> Iterator[Batch]:
            self.trainer.restore(base)
            if isinstance(self.data, Samples):
                return self._batches(base.position.batch)
            return iter(self._passed)

        return blame(self.trainer, again)


def _cut_text(cut: tuple[int | None, int | None]) -> str:
    batch, samples = ("some" if number is None else number for number in cut)
    return f"{samples} samples in batches of {batch}"
