"""The Python API: from a source to a `Model`.

import stepwell as sw
m = sw.compile("digits.well", model="digits", weights="digits.safetensors")
m(image)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stepwell.artefact import artefact
from stepwell.cache import DiskCache
from stepwell.compilation import Compilation, Options, Static
from stepwell.debug import Trace
from stepwell.descriptions import read_descriptions
from stepwell.ir.diagnostics import InputError, InternalError, StepwellError
from stepwell.memory import release_code, release_memory
from stepwell.model import Model
from stepwell.native_call import Native
from stepwell.parameters import Held, hold, hold_embedded
from stepwell.report import Memory, kernel_reports, saved_report
from stepwell.runnable import require_loadable, require_runnable
from stepwell.signature import Signature, parse_dim
from stepwell.source import as_source
from stepwell.state import StateBlock, without_states
from stepwell.suggestions import did_you_mean, listed
from stepwell.threads import require_count, threads_of
from stepwell.weights import Weights, read_weights


def compile(
    source: str | Path,
    model: str | None = None,
    weights: str | Path | Weights | None = None,
    *,
    statics: Mapping[str, Static] | None = None,
    seed: int = 0,
    target_cpu: str | None = None,
    threads: int | None = None,
    fast_math: bool = False,
    winograd: bool = True,
    check_each_pass: bool = False,
    cache: bool = True,
    tuning: str | Path | None = None,
) -> Model:
    """Compile a model to native code in this process.

    source           a path, or the text of a program (or of either IR)
    model            which of its models; not needed where there is one, or one is called as the
                     file is
    weights          a .safetensors or .npz file, or a mapping from path to array; without them
                     each parameter is drawn from its initialiser with `seed`. The model keeps its
                     own, prepared form, and no copy of these
    statics          values of the model's static arguments, by name
    target_cpu       a processor's name, where not this machine's
    threads          an upper bound on the threads of a call; not given: STEPWELL_THREADS, else
                     OMP_NUM_THREADS, else the cores that this process may use. Results do not
                     depend on it
    fast_math        allow rewriting by rules that hold for real numbers only
    winograd         allow convolutions by Winograd's method: several times quicker, and a little
                     less exact (the bound: lowering/strategies/winograd_matrices.py)
    check_each_pass  verify after every pass, and compare what the program computes
    cache            look in the cache on disk, and keep the result there
    tuning           a database that `stepwell tune` made; not given: the one in the cache's folder

    Raises UserError where the program is at fault, InputError where an argument is.
    """
    require_count(threads)
    if not isinstance(model, str | None):
        raise InputError(f"model: {model!r} is not the name of a model")
    if not isinstance(weights, str | Path | Mapping | None):
        raise InputError(f"weights: {type(weights).__name__} is no path and no mapping to arrays")
    given = tuple((statics or {}).items())
    database = None if tuning is None else str(tuning)
    options = Options(
        model, target_cpu, fast_math, check_each_pass, given, winograd, tuning=database
    )
    return compiled_model(
        Compilation(as_source(source), options, Trace.start()), weights, seed, cache, threads
    )


def compiled_model(
    compilation: Compilation,
    weights: str | Path | Weights | Callable[[Signature], Weights] | None,
    seed: int,
    cache: bool = True,
    threads: int | None = None,
) -> Model:
    """The model of a compilation, loaded into this process. Weights may be a function of what the
    model turns out to take."""
    from stepwell.codegen.jit import NativeProgram

    release_code()  # what loading LLVM read of it
    target = compilation.target
    require_runnable(target)
    disk = DiskCache.default() if cache else None
    try:
        made = artefact(compilation, disk)
        about = made.description
        team = threads_of(about, threads, disk)
        native = NativeProgram.load(
            made.objects, target, about["name"], len(about["sizes"]), len(about["inputs"]),
            len(about["outputs"]), bool(about["states"]),
        )  # fmt: skip
    except (StepwellError, MemoryError):
        raise
    except Exception as error:
        raise InternalError(f"{type(error).__name__}: {error}") from error
    kernels = kernel_reports(made.report["kernels"])
    memory = Memory(
        parse_dim(about["workspace"]), parse_dim(made.report["naive"]), about["weights_size"],
        team.count, about["state_size"], saved_report(made.report["saved"]),
    )  # fmt: skip
    stages, compiled = compilation.again().stage, compilation.has_program
    del compilation, made
    if compiled:
        release_memory()
    release_code()
    if callable(weights):
        weights = weights(Signature.of(about))
    held, state = _held(about, native, weights, seed)
    return Model(about, native, held, memory, team, kernels, state, stages)


def _held(
    about: Mapping[str, Any], native: Native, weights: str | Path | Weights | None, seed: int
) -> tuple[Held, StateBlock | None]:
    """What a program reads, and what it changes, of the same weights."""
    if not about["states"]:
        return hold(about, native, weights, seed), None
    signature, given = Signature.of(about), read_weights(weights)
    state = StateBlock.of(signature, given, seed)
    rest = None if given is None else without_states(signature, given)
    return hold(about, native, rest, seed), state


def load(
    path: str | Path,
    weights: str | Path | Weights | None = None,
    *,
    model: str | None = None,
    threads: int | None = None,
    state: str | Path | Weights | None = None,
) -> Model:
    """A model from a shared object that `stepwell build` made, with the same checks as `compile`.

    weights   as for `compile`, or the .weights file that was built with the object, which is
              mapped as it is (it must not change meanwhile); not needed where they are embedded,
              or there are no parameters
    model     which of its models; not needed where there is one
    threads   an upper bound on the threads of a call, as for `compile`
    state     of a step of training: the .state file that was built with the object, or arrays by
              path; the model has its own copy

    Raises InputError where the file is not such an object, or the weights do not fit.
    """
    from stepwell.codegen.jit import NativeProgram

    require_count(threads)
    description = _choose(path, model)
    try:
        require_loadable(description["target"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    native = NativeProgram.from_library(Path(path), description["symbol"])
    embedded = native.embedded_weights()
    if weights is None and embedded:
        held = hold_embedded(description, embedded)
    elif weights is None and description["parameters"]:
        raise InputError(f"{path} has no weights in it: name a file of them with `weights`")
    else:
        held = hold(description, native, weights or {})
    block = None
    if description["states"]:
        block = _initial_state(str(path), Signature.of(description), state)
    team = threads_of(description, threads, DiskCache.default())
    workspace = parse_dim(description["workspace"])
    memory = Memory(workspace, None, description["weights_size"], team.count)
    return Model(description, native, held, memory, team, state=block)


def _initial_state(
    path: str, signature: Signature, state: str | Path | Weights | None
) -> StateBlock:
    if state is None:
        raise InputError(f"{path} holds a step, which has state: name a file of it with `state`")
    if isinstance(state, str | Path) and Path(state).suffix == ".state":
        return StateBlock.read(signature, Path(state))
    return StateBlock.of(signature, state)


def _choose(path: str | Path, model: str | None) -> dict[str, Any]:
    found = {item["name"]: item for item in read_descriptions(path)}
    if model is None and len(found) == 1:
        return next(iter(found.values()))
    if model not in found:
        hint = did_you_mean(model or "", found)
        raise InputError(f"{path} holds {listed(found)}; choose one with model=...{hint}")
    return found[model]
