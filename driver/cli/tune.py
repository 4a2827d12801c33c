"""`stepwell tune`: faster schedules for this machine, found by measuring."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from stepwell.cli.arguments import (
    CommandError,
    add_compilation,
    add_model,
    add_train_modes,
    options,
)
from stepwell.cli.bench import find_source, read_sizes, thread_counts
from stepwell.compilation import Compilation
from stepwell.debug import Trace
from stepwell.ir.diagnostics import InputError
from stepwell.suggestions import listed
from stepwell.terminal import Progress, print_table
from stepwell.tuning import add_records, default_database

if TYPE_CHECKING:
    from stepwell.tune import Tuned

HELP = "search for faster schedules by measuring, and keep them"
DESCRIPTION = """\
Try out the choices that strategies have (register tiles, blocks, …) on this machine, kernel by
kernel, and keep what is faster in a database, a line of JSON for each kernel. Later compilations
for this machine find it there: in the cache's folder, or where --tuning says."""
EXAMPLE = "stepwell tune examples/digits/mlp.well --model mlp --size N=64 --budget 20"

BAR = 24  # characters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .well file, IR text, or a workload's name")
    add_model(parser)
    add_train_modes(parser)
    parser.add_argument(
        "--size", metavar="NAME=N", action="append", default=[],
        help="the value of a symbolic size; once for each",
    )  # fmt: skip
    parser.add_argument(
        "--budget", type=float, default=60.0, metavar="S", help="seconds to spend (default: 60)"
    )
    parser.add_argument("--threads", default="1", metavar="N", help="on how many (default: 1)")
    parser.add_argument("--json", action="store_true", help="what was found, as JSON")
    add_compilation(parser)


def run(args: argparse.Namespace) -> int:
    from stepwell.runnable import require_runnable
    from stepwell.tune import Tuner

    if not 0 < args.budget <= 86400:
        raise CommandError(f"--budget {args.budget:g}: write seconds, more than none")
    threads = thread_counts(args.threads)
    if len(threads) > 1:
        raise CommandError(f"--threads {args.threads}: tune for one number of threads at a time")
    compilation = Compilation(find_source(args.file), options(args, args.model), Trace.start())
    require_runnable(compilation.target)
    sizes = read_sizes(args.size)
    missing = [name for name in compilation.naive_program.sizes if name not in sizes]
    if missing:
        hint = " ".join(f"--size {name}=16" for name in missing)
        raise InputError(f"say how large {listed(missing)} shall be, with {hint}")
    database = args.tuning or str(default_database())
    with Progress() as progress:
        tuner = Tuner(
            compilation, sizes, threads[0], args.budget,
            lambda share, what: progress.say(f"{_bar(share)} {what}"),
        )  # fmt: skip
        found = tuner.run()
    faster = [item for item in found if item.knobs is not None]
    add_records(database, [tuner.record(item) for item in faster])
    if args.json:
        print(json.dumps([json.loads(tuner.record(item)) for item in found], indent=2))
    else:
        _print(found, len(faster), database)
    return 0


def _bar(share: float) -> str:
    full = min(BAR, round(BAR * share))
    return f"[{'=' * full}{' ' * (BAR - full)}] {min(share, 1):4.0%}"


def _print(found: list[Tuned], faster: int, database: str) -> None:
    from stepwell.bench.tables import seconds_text

    rows = [("kernel", "tried", "analytic", "best", "faster by", "choice")]
    for item in found:
        gain = f"{item.analytic / max(item.best, 1e-12):.2f}"
        choice = "analytic" if item.knobs is None else json.dumps(item.knobs)
        rows.append((
            item.kernel.name, str(item.tried), seconds_text(item.analytic),
            seconds_text(item.best), gain, choice,
        ))  # fmt: skip
    if found:
        print_table(rows)
    kept = f"; kept in {database}" if faster else ""
    print(f"{faster} of {len(found)} kernels with a choice are faster now{kept}")
