"""`sw.trainer`: a train block compiled to one native step, and what can be done with it.

    t = sw.trainer("digits.well", seed=0, threads=2)
    t.step(image, label)                     {"loss": 2.31, "accuracy": 0.09}: one step was done
    t.fit("train.npz", epochs=20, batch=64, valid="test.npz", checkpoint="digits.ckpt.safetensors")
    t.evaluate("test.npz")                   {"loss": 0.05, "accuracy": 0.99}
    t.save("digits.safetensors")             for `sw.compile(…, weights=…)`

In: a program with a train block. Out: a `Trainer`, which holds parameters and states once, where
the step updates them in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepwell.api import compiled_model
from stepwell.arrays import Array
from stepwell.compilation import Compilation, Options, Static
from stepwell.debug import Trace
from stepwell.files import require_file
from stepwell.ir.diagnostics import InputError
from stepwell.model import Model
from stepwell.passes import run_steps
from stepwell.pipeline import graph_passes
from stepwell.report import Memory
from stepwell.safetensors_file import write_safetensors
from stepwell.signature import Signature
from stepwell.source import Source, as_source
from stepwell.state import is_of_the_model, of_the_model
from stepwell.threads import require_count
from stepwell.training.checkpoint import Checkpoint, Origin, read_checkpoint, write_checkpoint
from stepwell.training.data import Batch, as_data, rows_of
from stepwell.training.position import Means, Position, Record
from stepwell.weights import Weights, matched, read_weights

if TYPE_CHECKING:
    from stepwell.ir.graph.core import Graph
    from stepwell.state import StateBlock
    from stepwell.training.listeners import Listener

Heard = Callable[[int, Mapping[str, float], Batch], None]


def trainer(
    source: str | Path,
    train: str | None = None,
    *,
    seed: int = 0,
    weights: str | Path | Weights | None = None,
    threads: int | None = None,
    statics: Mapping[str, Static] | None = None,
    target_cpu: str | None = None,
    fast_math: bool = False,
    winograd: bool = True,
    check_each_pass: bool = False,
    cache: bool = True,
    tuning: str | Path | None = None,
) -> Trainer:
    """Compile a train block to native code in this process.

    source    a path, or the text of a program (or of a step in graph or loop IR)
    train     which of its train blocks; not needed where there is one, or one is called as the
              file is
    seed      of parameters without weights, of random numbers and of the order of samples
    weights   the model's parameters: a file, or a mapping from path to array; the optimiser's
              states begin as their initialisers say
    threads   an upper bound; results do not depend on it, bit for bit
    winograd  of the evaluation; a step's convolutions never take that method

    The other arguments are those of `stepwell.compile`. Raises UserError where the program is at
    fault, InputError where an argument is.
    """
    require_count(threads)
    if not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise InputError(f"seed: {seed!r} is no whole number of 64 bits")
    if not isinstance(weights, str | Path | Mapping | None):
        raise InputError(f"weights: {type(weights).__name__} is no path and no mapping to arrays")
    options = Options(
        train, target_cpu, fast_math, check_each_pass, tuple((statics or {}).items()), winograd,
        tuning=None if tuning is None else str(tuning), mode="step",
    )  # fmt: skip
    return Trainer(as_source(source), options, weights, seed, threads, cache)


class Trainer:
    """A train block in native code, with the parameters and states that its steps update."""

    def __init__(
        self,
        source: Source,
        options: Options,
        weights: str | Path | Weights | None = None,
        seed: int = 0,
        threads: int | None = None,
        cache: bool = True,
    ) -> None:
        self.source, self._options = source, options
        self._threads, self._cache = threads, cache
        self.seed = seed
        self.position = Position()
        given = read_weights(weights)
        if given is not None:
            given = of_the_model(given)
        compilation = Compilation(source, options, Trace.start())
        self.model = compiled_model(compilation, given, seed, cache, threads)
        if self.model.state is None:
            raise InputError(f"{source.file}: {self.model.name} updates nothing: it is no step")
        self._state: StateBlock = self.model.state
        self._results = tuple(item.name for item in self.model.signature.outputs)
        self._evaluation: Model | None = None
        self._evaluated = -1  # the step whose parameters `_evaluation` has

    # what there is

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def signature(self) -> str:
        """The inputs of a step and what it gives."""
        return str(self.model.signature)

    @property
    def parameters(self) -> Mapping[str, Array]:
        """The model's parameters and states by path, as they are now: read-only views."""
        return {path: array for path, array in self.state.items() if is_of_the_model(path)}

    @property
    def state(self) -> Mapping[str, Array]:
        """The same, and the optimiser's: all that a checkpoint holds."""
        views = {path: array.view() for path, array in self.model.arrays.items()}
        for view in views.values():
            view.flags.writeable = False
        return views

    @property
    def memory(self) -> Memory:
        """Bytes: the workspace and what of it lives from forward to backward, weights, states."""
        return self.model.memory

    @property
    def history(self) -> list[Record]:
        """What came of each epoch."""
        return [dict(record) for record in self.position.history]

    def stage(self, name: str, kernel: str | None = None) -> str | bytes:
        """The step on one step of the way down: "graph", "loops-opt", "asm", …"""
        return self.model.stage(name, kernel)

    def __repr__(self) -> str:
        return f"<trainer {self.signature}, {self.position.step} steps done>"

    # training

    def step(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """One step on one batch: forward, backward, update. The loss and the metrics by name.

        Raises InputError for arguments that do not fit, as a model's call does; then nothing has
        changed.
        """
        outputs = self.model(*args, **kwargs)
        self.position.step += 1
        return self._named(outputs)

    def fit(
        self,
        data: Any,
        *,
        epochs: int = 1,
        batch: int | None = None,
        valid: Any = None,
        shuffle: bool = True,
        checkpoint: str | Path | None = None,
        seconds: float = 60.0,
        steps: int | None = None,
        overwrite: bool = False,
        log: str | Path | None = None,
        logdir: str | Path | None = None,
        plot: str | Path | None = None,
        show: bool = True,
        listeners: tuple[Listener, ...] = (),
    ) -> list[Record]:
        """Train until so many epochs are done in all; a record for each.

        data        a file (`train.npz`, `digits.npz:train_`), arrays by the inputs' names or in
                    their order as a tuple, or any iterable of batches
        batch       samples of one step (32); the last batch of an epoch may be shorter
        valid       what is evaluated after each epoch
        shuffle     whether each epoch has an order of its own, made of the seed
        checkpoint  a file to keep up to date: after each epoch, and within one after so many
                    `seconds` or `steps`; `resume` goes on from it
        overwrite   whether a checkpoint may be replaced that is further than this run is
        log         a file of JSON lines; logdir a folder of TensorBoard's; plot a PNG
        show        a bar on a terminal, else a line per epoch

        Raises InputError where the data do not fit, UserError where the loss is no finite number.
        Ctrl-C stops after the step and its checkpoint, with KeyboardInterrupt.
        """
        from stepwell.training.run import Keeping, Run, listeners_for

        chosen = listeners_for(log, logdir, plot, show, listeners)
        inputs = self.model.signature.inputs
        learned = as_data(data, inputs, batch)
        held_out = (
            None
            if valid is None
            else as_data(valid, inputs, _batch_for(valid, learned.batch), "the held-out data")
        )
        path = None if checkpoint is None else require_file(checkpoint, "checkpoint")
        keeping = Keeping(path, seconds, steps, overwrite)
        Run(self, learned, held_out, epochs, shuffle, keeping, chosen).go()
        return self.history

    def evaluate(self, data: Any, batch: int | None = None) -> dict[str, float]:
        """The loss and the metrics on held-out data, without dropout and the like: means over all
        samples."""
        given = as_data(data, self.model.signature.inputs, batch)
        return self.means(given.batches())

    def means(
        self, batches: Iterator[Batch], heard: Heard = lambda first, results, arrays: None
    ) -> dict[str, float]:
        """The same for batches that have been checked. Each is `heard` of: the number of its first
        sample, what it gave."""
        model, means = self.evaluation(), Means()
        for number, arrays in enumerate(batches):
            try:
                found = self._named(model(*arrays))
            except InputError as error:
                raise InputError(f"evaluation, batch {number}: {error}") from None
            heard(means.samples, found, arrays)
            means.add(found, rows_of(arrays, model.signature.inputs))
        if not means.samples:
            raise InputError("the data for the evaluation are empty")
        return means.values()

    def evaluation(self) -> Model:
        """What evaluates, with the parameters of now."""
        if self.source.kind != "well":
            raise InputError(f"{self.source.file} holds a step alone: nothing in it evaluates")
        now, step = self.state, self.position.step

        def weights(signature: Signature) -> Weights:
            return {spec.path: now[spec.path] for spec in signature.parameters}

        if self._evaluation is None:
            options = replace(self._options, mode="evaluate")
            self._evaluation = compiled_model(
                Compilation(self.source, options, Trace.start()), weights, self.seed,
                self._cache, self._threads,
            )  # fmt: skip
        elif self._evaluated != step:
            self._evaluation.load_parameters(weights(self._evaluation.signature))
        self._evaluated = step
        return self._evaluation

    # files

    def save(self, path: str | Path) -> None:
        """The model's parameters and states, as `sw.compile` and `stepwell run` take them."""
        if Path(path).suffix != ".safetensors":
            raise InputError(f"{path}: the name must end in .safetensors")
        write_safetensors(Path(path), self.parameters, {})

    def checkpoint(self, path: str | Path) -> None:
        """All that `resume` needs to go on to the same bits."""
        if Path(path).suffix != ".safetensors":
            raise InputError(f"{path}: the name must end in .safetensors")
        origin = Origin(self.name, self.source.digest, self.seed)
        write_checkpoint(Path(path), self.state, origin, self.position)

    def resume(self, path: str | Path) -> Checkpoint:
        """Be as the run was that wrote the checkpoint. InputError where it does not fit."""
        found = read_checkpoint(path)
        if found.origin.train != self.name:
            raise InputError(f"{path} is of `{found.origin.train}`, not of `{self.name}`")
        self.restore(found, str(path))
        return found

    def restore(self, found: Checkpoint, name: str = "the checkpoint") -> None:
        """The same, of a checkpoint that was read. Nothing changes where it does not fit."""
        signature = self.model.signature
        specs = (*signature.states, *signature.parameters)
        arrays = matched(specs, found.arrays, self.name, name)
        if signature.parameters:
            self.model.load_parameters(
                {spec.path: arrays[spec.path] for spec in signature.parameters}
            )
        for path, array in self._state.arrays.items():
            array[...] = arrays[path]
        self.seed, self.position = found.origin.seed, Position.of(found.position.text())
        self._evaluated = -1

    def wrote(self, found: Checkpoint) -> bool:
        """Whether the checkpoint is of the same program, to the letter."""
        return found.origin.program == self.source.digest

    def compilation(self) -> Compilation:
        """The step's, made anew, for what is seldom asked for."""
        return Compilation(self.source, self._options)

    def graph(self) -> Graph:
        """The step's graph, gradients spelled out. InputError where it began as loop IR."""
        steps = tuple(step for step in graph_passes() if step.passes == "differentiate")
        graph: Graph = run_steps(steps, self.compilation().graph, Trace(), False)
        return graph

    def trained(self) -> Iterator[Array]:
        """The parameters that steps update."""
        return (self._state.arrays[spec.path] for spec in self._state.specs if spec.trained)

    def _named(self, outputs: Any) -> dict[str, float]:
        values = (outputs,) if isinstance(outputs, np.ndarray) else outputs
        return {name: float(value) for name, value in zip(self._results, values, strict=True)}


def _batch_for(source: Any, batch: int | None) -> int | None:
    """Held-out data are cut as the others are, where they can be cut."""
    whole = isinstance(source, str | Path | Mapping | np.ndarray | tuple)
    return batch if whole else None
