"""`stepwell emit`: the program on one step of the way down."""

from __future__ import annotations

import argparse
import sys

from stepwell.cli.arguments import (
    CommandError,
    add_compilation,
    add_dump,
    add_json,
    add_model,
    add_train_modes,
    options,
)
from stepwell.compilation import Compilation
from stepwell.debug import Trace
from stepwell.files import write_file
from stepwell.pipeline import STAGES
from stepwell.source import read_source
from stepwell.terminal import print_text

HELP = "print the program on one step of the way down"
DESCRIPTION = """\
Print a model on one step of the way down. FILE is a program, or a text that an earlier
`emit` wrote (graph or loops): then the way goes on from there."""
EXAMPLE = "stepwell emit examples/digits/mlp.well --model mlp --stage graph"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .well file, or IR text")
    parser.add_argument("--stage", "-s", choices=STAGES, required=True, help="which step")
    add_model(parser)
    add_train_modes(parser)
    parser.add_argument("--kernel", "-k", metavar="K", help="only this kernel (from loops down)")
    parser.add_argument("--output", "-o", metavar="F", help="write here, not to stdout")
    add_compilation(parser)
    add_dump(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.stage == "obj" and not args.output and sys.stdout.isatty():
        raise CommandError("an object is binary: name a file with -o, or send it into a pipe")
    source, trace = read_source(args.file), Trace.start(args.dump)
    compilation = Compilation(source, options(args, args.model), trace)
    content = compilation.stage(args.stage, args.kernel)
    if args.dump:
        _ = compilation.objects  # every stage, those below the one asked for too
    if args.output:
        text = content if isinstance(content, bytes) else content.rstrip("\n") + "\n"
        write_file(args.output, text)
    elif isinstance(content, bytes):
        sys.stdout.buffer.write(content)
    else:
        print_text(content, args.stage)
    return 0
