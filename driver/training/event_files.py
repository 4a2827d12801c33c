"""TensorBoard's event files: scalars of steps and epochs, and the graph.

In: what listeners hear. Out: files in a folder that `tensorboard --logdir` reads; needs the package
`tensorboard` (extra `[tensorboard]`), nothing of TensorFlow.

    runs/1/events.out.tfevents.…    train/loss, train/accuracy, valid/loss, …; the graph
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepwell.ir.diagnostics import InputError
from stepwell.training.listeners import Listener, Plan
from stepwell.training.position import Position, Record


class EventFiles(Listener):
    """Writes into `folder`, every `every` steps. InputError where the package is missing."""

    def __init__(self, folder: str | Path, every: int = 10) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, graph_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            raise InputError(
                "event files need the package `tensorboard`: pip install 'stepwell[tensorboard]'"
            ) from None
        self._events, self._graphs, self._summaries = event_pb2, graph_pb2, summary_pb2
        self._open, self._folder, self._every = EventFileWriter, Path(folder), every
        self._writer: Any = None
        self._seen, self._since = 0, 0.0

    def begin(self, plan: Plan, position: Position) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = self._open(str(self._folder))
        # TensorBoard drops what earlier files tell of this step and later ones.
        session = self._events.SessionLog(status=self._events.SessionLog.START)
        self._add(position.step + 1, session_log=session)
        self._add(position.step, graph_def=self._graph(plan.graph()))
        self._seen, self._since = 0, time.perf_counter()

    def step(self, position: Position, results: Record, samples: int) -> None:
        self._seen += samples
        if position.step % self._every:
            return
        now = time.perf_counter()
        rate = self._seen / max(now - self._since, 1e-9)
        self._scalars(position.step, {**_tagged("train", results), "samples_per_second": rate})
        self._seen, self._since = 0, now

    def epoch(self, position: Position, record: Record) -> None:
        valid = {name: x for name, x in record.items() if name.startswith("valid_")}
        self._scalars(position.step, {f"valid/{name[6:]}": x for name, x in valid.items()})

    def end(self, position: Position) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        if values:
            make = self._summaries.Summary.Value
            found = [make(tag=tag, simple_value=value) for tag, value in values.items()]
            self._add(step, summary=self._summaries.Summary(value=found))

    def _add(self, step: int, **content: Any) -> None:
        self._writer.add_event(self._events.Event(wall_time=time.time(), step=step, **content))

    def _graph(self, graph: Any) -> bytes:
        """The graph as TensorBoard's `GraphDef`: a node per input, parameter and op."""
        made, node = self._graphs.GraphDef(), {}
        for value in (*graph.inputs, *(parameter.value for parameter in graph.parameters)):
            made.node.add(name=_path(value.name), op="Placeholder")
            node[value] = _path(value.name)
        for op in graph.ops:
            name = _path(op.results[0].name)
            made.node.add(
                name=name, op=op.definition.name, input=[node[value] for value in op.operands]
            )
            node |= {value: f"{name}:{i}" if i else name for i, value in enumerate(op.results)}
        text: bytes = made.SerializeToString()
        return text


def _tagged(group: str, results: Record) -> dict[str, float]:
    return {f"{group}/{name}": value for name, value in results.items()}


def _path(name: str) -> str:
    """TensorBoard nests nodes at slashes; its names have no other signs than these."""
    plain = "".join(c if c.isalnum() or c in "_./-" else "_" for c in name)
    return plain.replace(".", "/") if plain[:1].isalnum() else f"v{plain}".replace(".", "/")
