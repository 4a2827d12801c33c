"""The same model in PyTorch: what peers are made from.

In: a source's file, `FOLDER/NAME.well`. Out: its twin, where `FOLDER/torch_modules.py` has one: an
entry NAME of its `WORKLOADS`, which makes a module whose parameters and inputs are the model's.

    find_twin("benchmarks/peers/mlp_b1.well").module()   →   MLP((fc1): Linear(784, 512), …)
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stepwell.ir.diagnostics import InputError
from stepwell.suggestions import listed

FILE = "torch_modules.py"


class Twin(Protocol):
    """A model in PyTorch. Its module has the model's parameters, by name, and takes its inputs.
    Where there are `labels` (how many, of how many classes), the source has a step of training."""

    name: str
    shapes: Sequence[tuple[int, ...]]
    labels: tuple[int, int] | None

    def module(self) -> Any:
        """A torch.nn.Module."""


def find_twin(file: str) -> Twin:
    """The twin of a source. InputError where there is none, or PyTorch is not installed."""
    path = Path(file)
    if not (path.parent / FILE).is_file():
        raise InputError(f"no peer knows {file}: beside it there is no {FILE} that describes it")
    if importlib.util.find_spec("torch") is None:
        raise InputError(f"{path.parent / FILE} describes {file} in PyTorch, which isn't installed")
    twins = load_twins(path.parent)
    if path.stem not in twins:
        raise InputError(f"{path.parent / FILE} has no {path.stem}, but {listed(twins)}")
    return twins[path.stem]


def load_twins(folder: Path) -> Mapping[str, Twin]:
    """The twins that a folder's file describes, by name. InputError where it can't be read."""
    name = f"stepwell_twins_{abs(hash(folder.resolve()))}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, folder / FILE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # its dataclasses look for it there
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            message = f"can't read {folder / FILE}: {type(error).__name__}: {error}"
            raise InputError(message) from error
    found: Mapping[str, Twin] = getattr(sys.modules[name], "WORKLOADS", {})
    return found
