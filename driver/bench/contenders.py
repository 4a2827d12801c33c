"""The peers that a model is measured against: chosen by name, given its weights, checked.

In: names, a source with a twin in PyTorch. Out: for each number of threads, a call for each peer,
whose results were compared with ours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepwell.arrays import Array
from stepwell.bench.peers import PEERS, ModuleCase, agree
from stepwell.bench.session import Session
from stepwell.bench.twins import find_twin
from stepwell.ir.diagnostics import InputError
from stepwell.source import Source
from stepwell.suggestions import did_you_mean, listed


@dataclass(frozen=True)
class Contenders:
    """Peers by name, and the module that they are made from; it has the weights for all."""

    names: tuple[str, ...]
    module: Any = None

    @staticmethod
    def of(text: str, source: Source, weights: str | None) -> Contenders:
        """From `torch,onnxruntime`. InputError for what is unknown, or isn't installed."""
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        for name in names:
            _require(name)
        if not names:
            return Contenders(())
        if weights is not None:
            raise InputError("peers bring their own weights: --weights and --against don't mix")
        return Contenders(names, find_twin(source.file).module())

    @property
    def weights(self) -> dict[str, Array] | None:
        """The module's parameters; None where there is no module, or it has none."""
        if self.module is None:
            return None
        return {name: p.detach().numpy() for name, p in self.module.named_parameters()} or None

    def prepared(
        self, session: Session, threads: int, tell: Callable[[str], None]
    ) -> dict[str, Callable[[], object]]:
        """A call for each peer. InputError where one computes something else."""
        inputs = [session.inputs[item.name] for item in session.model.signature.inputs]
        calls: dict[str, Callable[[], object]] = {}
        for name in self.names:
            tell(f"preparing {name}, threads: {threads}")
            with tempfile.TemporaryDirectory() as folder:
                case = ModuleCase(self.module, inputs, Path(folder))
                peer = PEERS[name].prepare(case, threads)
            difference = agree(_listed(session.model(*inputs)), peer.results(peer.call()))
            if difference:
                raise InputError(f"{name} computes something else: {difference}")
            calls[name] = peer.call
        return calls


def _listed(results: Array | tuple[Array, ...]) -> list[Array]:
    return list(results) if isinstance(results, tuple) else [results]


def _require(name: str) -> None:
    if name not in PEERS:
        hint = did_you_mean(name, PEERS) or f"; there are {listed(PEERS)}"
        raise InputError(f"no peer is called {name}{hint}")
    missing = PEERS[name].missing
    if missing:
        raise InputError(f"{name} isn't installed: there is no {listed(missing)}")
