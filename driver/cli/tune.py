"""`stepwell tune`: faster schedules for this machine, found by measuring."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from stepwell.ir.target import available_cores
from stepwell.suggestions import listed
from stepwell.terminal import print_table
from stepwell.tuning.database import default_database, keep, known

if TYPE_CHECKING:
    from stepwell.tuning.tuner import Tuned, Tuner

HELP = "search for faster schedules by measuring, and keep them"
DESCRIPTION = """\
Try out the choices that strategies have (register tiles, blocks, methods of convolution, …) on
this machine: the model is run with other choices in turns with the default ones, and each kernel is
timed where it stands. What is faster with every number of threads, also when measured once more at
the end, is kept in a database, a line of JSON for each kernel. Later compilations for this machine
find it there: in the cache's folder, or where --tuning says. The search begins with what the
database holds; Ctrl-C ends it, and keeps what was found."""
EXAMPLE = "stepwell tune examples/digits/mlp.well --model mlp --size N=64 --budget 20"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .well file, IR text, or a workload's name")
    add_model(parser)
    add_train_modes(parser)
    parser.add_argument(
        "--size", metavar="NAME=N", action="append", default=[],
        help="the value of a symbolic size; once for each",
    )  # fmt: skip
    parser.add_argument(
        "--budget", type=float, default=60.0, metavar="S", help="seconds to search (default: 60)"
    )
    cores = available_cores()
    parser.add_argument(
        "--threads", default="1" if cores == 1 else f"1,{cores}", metavar="N,…",
        help="on how many; a choice must not be slower on any (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="what was found, as JSON")
    add_compilation(parser)


def run(args: argparse.Namespace) -> int:
    from stepwell.runnable import require_runnable
    from stepwell.tuning.tuner import Tuner

    if not 0 < args.budget <= 86400:
        raise CommandError(f"--budget {args.budget:g}: write seconds, more than none")
    threads = thread_counts(args.threads)
    compilation = Compilation(find_source(args.file), options(args, args.model), Trace.start())
    require_runnable(compilation.target)
    sizes = read_sizes(args.size)
    missing = [name for name in compilation.naive_program.sizes if name not in sizes]
    if missing:
        hint = " ".join(f"--size {name}=16" for name in missing)
        raise InputError(f"say how large {listed(missing)} shall be, with {hint}")
    database = args.tuning or str(default_database())
    records = known(database, compilation.target)
    with _bar(args.budget) as tell:
        tuner = Tuner(compilation, sizes, tuple(threads), args.budget, records, tell)
        found = tuner.run()
    keep(database, [tuner.record(item) for item in found if item.tried])
    if args.json:
        print(json.dumps([tuner.record(item) for item in found], indent=2))
    else:
        _print(tuner, found, database)
    return 0


@contextmanager
def _bar(budget: float) -> Iterator[Callable[[float, str], None]]:
    """A bar on stderr, where that is a terminal, that hears how many seconds are spent."""
    if not sys.stderr.isatty():
        yield lambda spent, what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(file=sys.stderr, force_terminal=True, highlight=False)
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    # Drawn when there is something to tell: a thread that draws would disturb what is measured.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=budget)

        def tell(spent: float, what: str) -> None:
            bar.update(task, completed=spent, description=what, refresh=True)

        yield tell


def _print(tuner: Tuner, found: Sequence[Tuned], database: str) -> None:
    from stepwell.bench.tables import seconds_text

    counts = [f"{n} thread{'s' * (n > 1)}" for n in tuner.threads]
    rows = [("kernel", "share", "tried", *counts, "gain", "choice")]
    for item in found:
        times = [" → ".join(map(seconds_text, pair if item.knobs else pair[:1]))
                 for pair in item.times.values()]  # fmt: skip
        choice = json.dumps(item.knobs) if item.knobs else "default"
        rows.append((
            item.kernel.name, f"{item.share:.1%}", str(item.tried), *times, f"{item.gain:.2f}",
            choice,
        ))  # fmt: skip
    if found:
        print_table(rows)
    faster, refused = sum(bool(item.knobs) for item in found), sum(i.refused for i in found)
    print(f"{faster} of {len(found)} kernels are faster now", end="")
    print(f"; {refused} choices could not be scheduled" if refused else "", end="")
    print(f"; kept in {database}" if faster else "")
    for (default, best), count in zip(tuner.whole.values(), counts, strict=False):
        print(f"the model, {count}: {seconds_text(default)} → {seconds_text(best)}")
