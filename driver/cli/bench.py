"""`stepwell bench`: how fast a model is, how fast it could be here, and what bounds it."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.api import compiled_model
from stepwell.cli.arguments import (
    CommandError,
    add_compilation,
    add_model,
    add_train_modes,
    add_weights,
    options,
    read_inputs,
)
from stepwell.compilation import Compilation, Options
from stepwell.debug import Trace
from stepwell.files import write_file
from stepwell.source import Source, read_source
from stepwell.suggestions import did_you_mean, listed
from stepwell.terminal import Progress, print_table

if TYPE_CHECKING:
    from stepwell.bench.ceilings import Ceilings
    from stepwell.bench.session import Measurement
    from stepwell.model import Model
    from stepwell.weights import Weights

HELP = "measure a model against this machine's ceilings, and against peers"
DESCRIPTION = """\
Run a model on random inputs and tell its time, its rate, and how far it is from what this
machine can do, measured in the same run by kernels of our own. FILE is a program or IR text; in a
checkout of Stepwell also the name of a workload of `benchmarks/peers/`."""
EXAMPLE = "stepwell bench examples/digits/mlp.well --model mlp --size N=64 --profile --svg mlp.svg"

WORKLOADS = Path("benchmarks") / "peers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .well file, IR text, or a workload's name")
    add_model(parser)
    add_train_modes(parser)
    add_weights(parser)
    parser.add_argument(
        "--size", metavar="NAME=N", action="append", default=[],
        help="the value of a symbolic size; once for each",
    )  # fmt: skip
    parser.add_argument(
        "--input", "-i", metavar="NAME=FILE", action="append", default=[],
        help="an input that is not random: name=x.npy, name=file.npz:key, or name=number",
    )  # fmt: skip
    parser.add_argument("--threads", default="1", metavar="N,…", help="on how many (default: 1)")
    parser.add_argument(
        "--against", metavar="PEER,…", default="",
        help="measure these in turns with it: torch, torch.compile, onnxruntime, openvino, jax, "
        "iree, tvm; torch_modules.py beside FILE must describe the model in PyTorch",
    )  # fmt: skip
    parser.add_argument(
        "--profile", action="store_true", help="time each kernel, and say what bounds it"
    )
    parser.add_argument("--svg", metavar="F", help="the profile as a picture")
    parser.add_argument(
        "--seconds", type=float, default=1.0, metavar="S",
        help="spent on each contender (default: 1)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="all that was measured, as JSON")
    add_compilation(parser)


def run(args: argparse.Namespace) -> int:
    threads = thread_counts(args.threads)
    if not 0 < args.seconds <= 3600:
        raise CommandError(f"--seconds {args.seconds:g}: write seconds, more than none")
    if args.svg and not args.profile:
        raise CommandError("--svg draws the profile: ask for it with --profile")
    if args.svg and len(threads) > 1:
        raise CommandError("--svg draws one number of threads: give one with --threads")
    source = find_source(args.file)
    sizes, given = read_sizes(args.size), read_inputs(args.input)
    with Progress() as progress:
        measured = _measured(args, source, sizes, given, threads, progress)
    if args.svg:
        from stepwell.bench.picture import roofline_svg

        write_file(args.svg, roofline_svg(measured[0]))
    if args.json:
        from stepwell.bench.tables import as_json

        print(json.dumps(as_json(measured), indent=2))
    else:
        _print(measured)
    return 0


def _measured(
    args: argparse.Namespace,
    source: Source,
    sizes: dict[str, int],
    given: dict[str, Any],
    threads: list[int],
    progress: Progress,
) -> list[Measurement]:
    from stepwell.bench.contenders import Contenders
    from stepwell.bench.inputs import random_inputs
    from stepwell.bench.session import Session

    chosen = options(args, args.model)
    contenders = Contenders.of(args.against, source, args.weights)
    weights = contenders.weights or args.weights
    progress.say(f"compiling {source.file}")
    model, compilation = _compiled(source, chosen, weights, args.seed)
    profiled = None
    if args.profile:
        profiled, _ = _compiled(source, replace(chosen, profile=True), weights, args.seed)
    inputs = random_inputs(model, sizes, given, args.seed)
    found = []
    for count in threads:
        session = Session(compilation, model, inputs, profiled).with_threads(count)
        ceilings = _ceilings(count, progress)
        peers = contenders.prepared(session, count, progress.say)
        progress.say(f"{model.name}, threads: {count}")
        found.append(session.measure(ceilings, args.seconds, peers))
    return found


def _compiled(
    source: Source, chosen: Options, weights: str | Weights | None, seed: int
) -> tuple[Model, Compilation]:
    compilation = Compilation(source, chosen, Trace.start())
    return compiled_model(compilation, weights, seed), compilation


def _ceilings(threads: int, progress: Progress) -> Ceilings:
    from stepwell.bench.ceilings import measure

    return measure(threads, lambda what: progress.say(f"ceilings, threads: {threads}: {what}"))


def _print(measured: list[Measurement]) -> None:
    from stepwell.bench.tables import bytes_text, ceiling_rows, kernel_rows, model_rows, number_text

    first = measured[0]
    sizes = "".join(f", {name} = {value}" for name, value in first.sizes.items())
    work = f"{number_text(first.work.flops / 1e6)} MFLOP, {bytes_text(first.work.bytes)}"
    print(f"{first.model}{sizes}: {work} of inputs, weights and outputs\n")
    print_table(model_rows(measured))
    for item in measured:
        if item.kernels:
            print_table(kernel_rows(item), f"\nkernels, threads: {item.threads}")
    print_table(ceiling_rows(item.ceilings for item in measured), "\nthis machine, in the same run")


def thread_counts(text: str) -> list[int]:
    """`1,2` as numbers. CommandError."""
    from stepwell.ir.target import host

    counts = [int(part) if part.strip().isdigit() else 0 for part in text.split(",")]
    if min(counts) < 1:
        raise CommandError(f"--threads {text}: write numbers from 1, as in --threads 1,2")
    if max(counts) > host().cores:
        raise CommandError(f"--threads {text}: this process may use {host().cores} cores")
    return list(dict.fromkeys(counts))


def read_sizes(items: list[str]) -> dict[str, int]:
    """`N=16` arguments. CommandError."""
    sizes = {}
    for item in items:
        name, _, value = item.partition("=")
        if not name or not value.isdigit():
            raise CommandError(f"--size {item}: write a name and a number, as in N=16")
        sizes[name] = int(value)
    return sizes


def find_source(name: str) -> Source:
    """A file, or a workload of the checkout that we are in. CommandError or InputError."""
    if Path(name).exists() or Path(name).suffix:
        return read_source(name)
    folders = [folder / WORKLOADS for folder in (Path.cwd(), *Path.cwd().parents)]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise CommandError(f"no file {name}")
    path = folder / f"{name}.well"
    if not path.is_file():
        names = sorted(item.stem for item in folder.glob("*.well"))
        hint = did_you_mean(name, names) or f"; there are {listed(names)}"
        raise CommandError(f"no file and no workload {name}{hint}")
    return read_source(path)
