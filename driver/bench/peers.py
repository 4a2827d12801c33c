"""Other compilers and runtimes on the same model: an adapter for each.

In: a `Case`, which is a module of PyTorch and inputs; how many threads. Out: a call, the only thing
that is timed, and a way to its results as arrays.

    PEERS["onnxruntime"].prepare(case, 1)   →   Prepared(call, results)

Weights may be repacked while preparing; the inputs are not known before a call.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stepwell.arrays import Array

TOLERANCE = 1e-3  # of the largest number of a result


class Case(Protocol):
    """The work: inputs, and the model in the forms that peers take, made when asked for."""

    inputs: Sequence[Array]

    def module(self) -> Any:
        """A torch.nn.Module."""

    def onnx(self) -> Path:
        """An ONNX file."""


@dataclass
class ModuleCase:
    """A case made from a module in this process."""

    made: Any
    inputs: Sequence[Array]
    folder: Path

    def module(self) -> Any:
        return self.made

    def onnx(self) -> Path:
        path = self.folder / "model.onnx"
        return path if path.exists() else exported(self.made, self.inputs, path)


@dataclass(frozen=True)
class Prepared:
    """A peer ready to run: `results` turns what `call` returns into arrays."""

    call: Callable[[], Any]
    results: Callable[[Any], list[Array]]


@dataclass(frozen=True)
class Peer:
    """An adapter, the packages that it needs, and whether it takes an ONNX file. `step` is the
    adapter for a step of training, where there is one."""

    prepare: Callable[[Case, int], Prepared]
    packages: tuple[str, ...]
    takes_onnx: bool = False
    step: Callable[[Case, int], Prepared] | None = None

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        needed = (*self.packages, *(EXPORT if self.takes_onnx else ()))
        return [name for name in needed if not is_installed(name)]


def is_installed(name: str) -> bool:
    """Whether a package can be imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def exported(module: Any, inputs: Sequence[Array], path: Path) -> Path:
    """The module as an ONNX file."""
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    names = [f"x{number}" for number in range(len(inputs))]
    tensors = tuple(torch.from_numpy(x) for x in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            module, tensors, dynamo=True, opset_version=18, input_names=names, verbose=False
        )
    assert program is not None
    program.save(path, external_data=False)
    return path


def torch_parts(case: Case, threads: int) -> tuple[Any, list[Any]]:
    """The module and its inputs, in the layout that is faster for convolutions."""
    import torch

    torch.set_num_threads(threads)
    module, tensors = case.module(), [torch.from_numpy(x) for x in case.inputs]
    if any(isinstance(part, torch.nn.Conv2d) for part in module.modules()):
        module = module.to(memory_format=torch.channels_last)
        tensors = [
            x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in tensors
        ]
    return module, tensors


def _torch_results(found: Any) -> list[Array]:
    found = found if isinstance(found, tuple) else (found,)
    return [y.detach().numpy() for y in found]


def torch_eager(case: Case, threads: int) -> Prepared:
    """PyTorch as it is."""
    import torch

    module, tensors = torch_parts(case, threads)

    def call() -> Any:
        with torch.inference_mode():
            return module(*tensors)

    return Prepared(call, _torch_results)


def torch_compile(case: Case, threads: int) -> Prepared:
    """TorchInductor's C++, weights frozen: folded and packed beforehand."""
    import torch
    import torch._inductor.config as inductor

    module, tensors = torch_parts(case, threads)
    inductor.freezing = True
    compile: Any = torch.compile
    compiled = compile(module)

    def call() -> Any:
        with torch.no_grad():  # freezing does not work under inference_mode
            return compiled(*tensors)

    return Prepared(call, _torch_results)


def onnxruntime(case: Case, threads: int) -> Prepared:
    """ONNX Runtime, arrays bound to inputs and outputs beforehand."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    file = str(case.onnx())
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for entry, x in zip(session.get_inputs(), case.inputs, strict=True):
        binding.bind_ortvalue_input(entry.name, ort.OrtValue.ortvalue_from_numpy(x))
    outputs = []
    for entry in session.get_outputs():
        outputs.append(ort.OrtValue.ortvalue_from_numpy(np.zeros(entry.shape, np.float32)))
        binding.bind_ortvalue_output(entry.name, outputs[-1])
    return Prepared(
        lambda: session.run_with_iobinding(binding), lambda _: [y.numpy() for y in outputs]
    )


def openvino(case: Case, threads: int) -> Prepared:
    """OpenVINO, in f32, one stream."""
    import openvino as ov

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    compiled = ov.Core().compile_model(str(case.onnx()), "CPU", settings)
    request = compiled.create_infer_request()
    for number, x in enumerate(case.inputs):
        request.set_input_tensor(number, ov.Tensor(x, shared_memory=True))
    count = len(compiled.outputs)
    return Prepared(
        lambda: request.infer(share_outputs=True),  # by default it copies every output
        lambda _: [np.array(request.get_output_tensor(i).data) for i in range(count)],
    )


def iree(case: Case, threads: int) -> Prepared:
    """IREE's code for this CPU: the fastest of its ways, which depends on the model."""
    from stepwell.bench.iree_peer import prepared

    return prepared(case, threads)


def tvm(case: Case, threads: int) -> Prepared:
    """TVM's default code for this CPU."""
    from stepwell.bench.tvm_peer import prepared

    return prepared(case, threads)


def restrict_jax(threads: int) -> None:
    """Before JAX is imported: one thread, else as many as there are cores."""
    if threads == 1:
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


def jax(case: Case, threads: int) -> Prepared:
    """XLA, on the module's graph operator by operator."""
    restrict_jax(threads)
    import jax

    from stepwell.bench.jax_peer import as_jax

    function, parameters = as_jax(case.module(), case.inputs)
    held, arrays = jax.device_put(parameters), jax.device_put(list(case.inputs))
    compiled = jax.jit(function)

    def results(found: Any) -> list[Array]:
        return [np.asarray(y) for y in (found if isinstance(found, tuple) else (found,))]

    return Prepared(lambda: jax.block_until_ready(compiled(held, *arrays)), results)


def _steps(name: str) -> Callable[[Case, int], Prepared]:
    """An adapter of `training_peers`, which imports PyTorch."""

    def prepare(case: Case, threads: int) -> Prepared:
        from stepwell.bench import training_peers

        made: Prepared = getattr(training_peers, name)(case, threads)
        return made

    return prepare


EXPORT = ("torch", "onnx", "onnxscript")  # what writing an ONNX file needs
PEERS = {
    "torch": Peer(torch_eager, ("torch",), step=_steps("torch_eager")),
    "torch.compile": Peer(torch_compile, ("torch",), step=_steps("torch_compile")),
    "onnxruntime": Peer(onnxruntime, ("onnxruntime",), takes_onnx=True),
    "openvino": Peer(openvino, ("openvino",), takes_onnx=True),
    "jax": Peer(jax, ("jax", "torch"), step=_steps("jax_step")),
    "iree": Peer(iree, ("iree.compiler", "iree.runtime"), takes_onnx=True),
    "tvm": Peer(tvm, ("tvm",), takes_onnx=True),
}


def agree(ours: Sequence[Array], theirs: Sequence[Array]) -> str:
    """What is different beyond rounding, in words; nothing where they agree."""
    if len(ours) != len(theirs):
        return f"{len(theirs)} results, not {len(ours)}"
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a.shape != b.shape:
            return f"result {number} has shape {b.shape}, not {a.shape}"
        error = np.abs(a.astype(np.float64) - b).max(initial=0)
        if not error <= TOLERANCE * np.abs(a).max(initial=0):
            return f"result {number} differs by {error:.2g}"
    return ""
