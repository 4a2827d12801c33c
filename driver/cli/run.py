"""`stepwell run`: run a model on arrays from files."""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.api import compiled_model, load
from stepwell.arrays import Array
from stepwell.cli.arguments import (
    CommandError,
    add_compilation,
    add_dump,
    add_json,
    add_model,
    add_threads,
    add_weights,
    options,
    read_inputs,
)
from stepwell.comparison import check
from stepwell.compilation import Compilation
from stepwell.debug import Trace
from stepwell.files import require_file, write_file
from stepwell.model import Model
from stepwell.signature import SEED
from stepwell.source import read_source
from stepwell.terminal import print_note
from stepwell.threads import require_count
from stepwell.weights import described

HELP = "run a model on arrays from files"
DESCRIPTION = """\
Compile a model (or take it from the cache), run it once, and print its outputs: small ones
whole, of large ones a summary. FILE is a program, IR text, or a shared object."""
EXAMPLE = """\
stepwell run examples/digits/mlp.well --model mlp_accuracy --weights mlp.safetensors \\
    --input image=examples/digits/digits.npz:test_image \\
    --input label=examples/digits/digits.npz:test_label"""

SMALL = 64  # numbers that are printed whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .well file, IR text, or a .so")
    add_model(parser)
    add_weights(parser)
    parser.add_argument(
        "--input", "-i", metavar="NAME=FILE", action="append", default=[],
        help="name=x.npy, name=file.npz:key, or name=number; once for each input",
    )  # fmt: skip
    parser.add_argument(
        "--output",
        "-o",
        metavar="F",
        help="write all outputs to this .npz, or the one to this .npy",
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with the graph interpreter in float64"
    )
    parser.add_argument(
        "--state", metavar="F", help="of a step in a shared object: the .state file to begin from"
    )
    add_threads(parser)
    add_compilation(parser)
    add_dump(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.output and not args.output.endswith((".npz", ".npy")):
        raise CommandError(f"--output {args.output}: the name must end in .npz or .npy")
    if args.output:
        require_file(args.output, "--output")
    require_count(args.threads)
    inputs = read_inputs(args.input)
    if Path(args.file).suffix == ".so":
        if args.check:
            raise CommandError("--check needs the program: an object holds native code only")
        model = load(
            args.file, args.weights, model=args.model, threads=args.threads, state=args.state
        )
        compilation = None
    else:
        if args.state is not None:
            raise CommandError("--state is of a shared object; a program takes --weights")
        source, trace = read_source(args.file), Trace.start(args.dump)
        compilation = Compilation(source, options(args, args.model), trace)
        model = compiled_model(compilation, args.weights, args.seed, threads=args.threads)
    if SEED in model.signature.inputs:
        inputs.setdefault(SEED.name, args.seed)
    before = {path: array.copy() for path, array in model.arrays.items()} if args.check else {}
    results = _named(model, model(**inputs))
    drawn = bool(model.parameters or model.state)
    if args.weights is None and compilation is not None and drawn:
        print_note(f"no --weights: parameters were drawn with seed {args.seed}")
    print(f"model {model.name}{_sizes(model, inputs)}")
    for name, array in results.items():
        print(summary(name, array))
    if args.output:
        _save(args.output, results)
    if args.check and compilation is not None:
        print(check(compilation.graph, model, inputs, before, results))
    return 0


def _sizes(model: Model, inputs: Mapping[str, Any]) -> str:
    """`, N = 400`: what the sizes were in this call."""
    shapes = [np.shape(inputs[argument.name]) for argument in model.signature.inputs]
    return "".join(f", {name} = {value}" for name, value in model.signature.bind(shapes).items())


def _named(model: Model, results: Any) -> dict[str, Array]:
    names = [argument.name for argument in model.signature.outputs]
    return dict(zip(names, [results] if len(names) == 1 else results, strict=True))


def summary(name: str, array: Array) -> str:
    """`out: f32 = 0.975`; all numbers of a small array; of a large one least, greatest, mean."""
    head = f"{name}: {described(array)}"
    if array.ndim == 0:
        return f"{head} = {array[()]!s}"
    if array.size <= SMALL:
        text = np.array2string(array, separator=", ", max_line_width=88)
        return f"{head} = {text}" if "\n" not in text else f"{head} =\n{text}"
    wide = array.astype(np.float64)
    facts = [f"{fact} {value:.6g}" for fact, value in _facts(wide)]
    strange = int(np.size(wide) - np.isfinite(wide).sum())
    if strange:
        facts.append(f"{strange} not finite")
    first = np.array2string(array.reshape(-1)[:6], separator=", ", max_line_width=1000)
    return f"{head}\n  {', '.join(facts)}\n  begins {first[:-1]}, ...]"


def _facts(array: Array) -> list[tuple[str, float]]:
    with np.errstate(all="ignore"):
        return [("min", array.min()), ("max", array.max()), ("mean", array.mean())]


def _save(path: str, results: Mapping[str, Array]) -> None:
    # NumPy's files know no bfloat16: it is written as f32, which holds every value of it.
    plain = {n: a.astype(np.float32) if a.dtype.kind == "V" else a for n, a in results.items()}
    if path.endswith(".npy"):
        if len(plain) > 1:
            raise CommandError(f"--output {path}: {len(plain)} outputs need an .npz")
        write_file(path, _npy(next(iter(plain.values()))))
        return
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in plain.items():
            archive.writestr(f"{name}.npy", _npy(array))
    write_file(path, stream.getvalue())


def _npy(array: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
