"""One cell of the tables: a peer on a workload with so many threads, in a process of its own.

    python benchmarks/cell.py build WORKLOAD FOLDER              inputs, weights, ONNX, results
    python benchmarks/cell.py run PEER WORKLOAD THREADS FOLDER   one line of JSON

In: the sources and modules of `peers/`. Out: files; the seconds of a call and of preparing, the
peak of resident memory; for Stepwell also what bounds it, by ceilings measured here and now.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

PEERS_FOLDER = Path(__file__).parent / "peers"
SECONDS = 1.0  # of measuring
OURS = "stepwell"


@dataclass
class FolderCase:
    """What `build` wrote. A module is made only for a peer that asks for one."""

    name: str
    folder: Path

    @cached_property  # peers may keep a pointer only
    def inputs(self) -> list[np.ndarray]:
        labels = _arrays(self.folder / "labels.npz") if self.trains else []
        return [*_arrays(self.folder / "inputs.npz"), *labels]

    @property
    def results(self) -> list[np.ndarray]:
        return _arrays(self.folder / "results.npz")

    @property
    def trains(self) -> bool:
        """Whether a call is a step of training, whose labels are the last input."""
        return (self.folder / "labels.npz").exists()

    def module(self) -> Any:
        from stepwell.bench.twins import load_twins

        return load_twins(PEERS_FOLDER)[self.name].module()

    def onnx(self) -> Path:
        return self.folder / "model.onnx"


def _arrays(path: Path) -> list[np.ndarray]:
    with np.load(path) as found:
        return [found[name] for name in found.files]


def build(name: str, folder: Path) -> None:
    """Inputs, weights, results in float64, and an ONNX file where it can be exported."""
    import torch

    from stepwell.bench.peers import EXPORT, exported, is_installed
    from stepwell.bench.twins import load_twins

    folder.mkdir(parents=True, exist_ok=True)
    twin = load_twins(PEERS_FOLDER)[name]
    module = twin.module()
    inputs = [torch.randn(shape) for shape in twin.shapes]
    np.savez(folder / "inputs.npz", *[x.numpy() for x in inputs])
    weights = {path: p.detach().numpy() for path, p in module.named_parameters()}
    np.savez(folder / "weights.npz", **weights)
    if twin.labels:
        labels = torch.randint(twin.labels[1], twin.labels[:1])
        np.savez(folder / "labels.npz", labels.numpy())
        np.savez(folder / "results.npz", *_step_of(module.double(), inputs, labels))
        return
    if all(map(is_installed, EXPORT)):
        exported(module, [x.numpy() for x in inputs], folder / "model.onnx")
    with torch.no_grad():
        found = module.double()(*[x.double() for x in inputs])
    found = found if isinstance(found, tuple) else (found,)
    np.savez(folder / "results.npz", *[y.float().numpy() for y in found])


def _step_of(module: Any, inputs: list[Any], labels: Any) -> list[np.ndarray]:
    """The loss, and the change of each parameter in a step of SGD, in float64."""
    import torch

    from stepwell.bench.training_peers import RATE

    loss = torch.nn.functional.cross_entropy(module(*[x.double() for x in inputs]), labels)
    loss.backward()
    changes = [-RATE * p.grad for _, p in sorted(module.named_parameters())]
    return [y.detach().float().numpy() for y in (loss, *changes)]


def run(peer: str, name: str, threads: int, folder: Path) -> dict[str, Any]:
    """The record of a cell; `status` says whether there is a time."""
    from stepwell.bench.peers import agree
    from stepwell.bench.timing import in_turns

    case = FolderCase(name, folder)
    _import(peer)
    begun = time.perf_counter()
    call, results, more = _prepared(peer, case, threads)
    difference = agree(case.results, results(call()))
    compiled = time.perf_counter() - begun
    if difference:
        return {"status": "wrong", "reason": difference}
    spread = in_turns({peer: call}, SECONDS)[peer]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    record = {"status": "ok", **asdict(spread), "compile": compiled, "memory": memory}
    return record | more(spread.median)


def _import(peer: str) -> None:
    """What takes its time but is no compiling."""
    from stepwell.bench.peers import PEERS

    for package in ("stepwell",) if peer == OURS else PEERS[peer].packages:
        importlib.import_module(package)


Prepared = tuple[
    Callable[[], Any], Callable[[Any], list[np.ndarray]], Callable[[float], dict[str, Any]]
]


def _prepared(peer: str, case: FolderCase, threads: int) -> Prepared:
    """(call, its results as arrays, what else there is to say once the time is known)."""
    if peer == OURS:
        return _our_step(case, threads) if case.trains else _ours(case, threads)
    from stepwell.bench.peers import PEERS

    adapter = PEERS[peer].step if case.trains else PEERS[peer].prepare
    assert adapter is not None, "run.py asks no peer to train that can't"
    made = adapter(case, threads)
    return made.call, made.results, lambda _: {}


def _ours(case: FolderCase, threads: int) -> Prepared:
    import stepwell as sw
    from stepwell.compilation import Compilation
    from stepwell.source import read_source

    file, inputs = PEERS_FOLDER / f"{case.name}.well", case.inputs
    with np.load(case.folder / "weights.npz") as weights:
        held = dict(weights) or None
    model = sw.compile(file, weights=held, threads=threads)

    def more(median: float) -> dict[str, Any]:
        begun = time.perf_counter()
        sw.compile(file, weights=held, threads=threads)
        cached = time.perf_counter() - begun
        return {"cached": cached, **_bound(Compilation(read_source(file)), model, inputs, median)}

    def listed(found: Any) -> list[np.ndarray]:
        return list(found) if isinstance(found, tuple) else [found]

    return lambda: model(*inputs), listed, more


def _our_step(case: FolderCase, threads: int) -> Prepared:
    import stepwell as sw
    from stepwell.compilation import Compilation, Options
    from stepwell.source import read_source

    file, inputs = PEERS_FOLDER / f"{case.name}.well", case.inputs
    with np.load(case.folder / "weights.npz") as weights:
        before = dict(weights)
    trainer = sw.trainer(file, weights=before, threads=threads)

    def results(found: Any) -> list[np.ndarray]:
        now = trainer.parameters
        return [np.asarray(found["loss"]), *(now[n] - before[n] for n in sorted(before))]

    def more(median: float) -> dict[str, Any]:
        begun = time.perf_counter()
        sw.trainer(file, weights=before, threads=threads)
        cached = time.perf_counter() - begun
        compilation = Compilation(read_source(file), Options(case.name, mode="step"))
        return {"cached": cached, **_bound(compilation, trainer.model, inputs, median)}

    return lambda: trainer.step(*inputs), results, more


def _bound(compilation: Any, model: Any, inputs: list[np.ndarray], median: float) -> dict[str, Any]:
    """What bounds the workload on this machine, and how far it is from that bound."""
    from stepwell.bench.ceilings import function_seconds, measure
    from stepwell.bench.roofline import bound_of
    from stepwell.bench.session import Session

    named = {item.name: x for item, x in zip(model.signature.inputs, inputs, strict=True)}
    session = Session(compilation, model, named)
    ceilings = measure(model.threads)
    bound = bound_of(session.whole, ceilings, function_seconds)
    return {
        "bound": bound.name, "fraction": bound.seconds / median, "ceilings": asdict(ceilings),
        "flops": session.whole.flops, "bytes": session.whole.bytes,
    }  # fmt: skip


def main(arguments: list[str]) -> None:
    if arguments[0] == "build":
        build(arguments[1], Path(arguments[2]))
        return
    peer, name, threads, folder = arguments[1:]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    try:
        record = run(peer, name, int(threads), Path(folder))
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        record = {"status": "failed", "reason": f"{type(error).__name__}: {first}"[:200]}
    print("\nRECORD " + json.dumps(record), flush=True)
    os._exit(0)  # some runtimes hang while they shut down


if __name__ == "__main__":
    main(sys.argv[1:])
