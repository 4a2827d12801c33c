"""`stepwell opt`: run named passes on an IR text."""

from __future__ import annotations

import argparse

from stepwell.cli.arguments import CommandError, add_json
from stepwell.debug import Trace
from stepwell.files import write_file
from stepwell.passes import apply_passes, known_passes
from stepwell.report import table
from stepwell.source import read_source
from stepwell.terminal import print_text

HELP = "run named passes on an IR text"
DESCRIPTION = """\
Read graph IR or loop IR (told apart by their content, whatever the file is called), run
passes in order, verify, and print. `--passes ''` only reads, verifies and prints."""
EXAMPLE = """\
stepwell emit examples/digits/mlp.well --model mlp --stage graph -o mlp.graph
stepwell opt mlp.graph --passes 'canonicalize,cse,fuse'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="IR text")
    parser.add_argument(
        "--passes", default="", metavar="P", help="names, with options as in fuse{x=1}"
    )
    parser.add_argument("--check-each-pass", action="store_true", help="compare before and after")
    parser.add_argument("--output", "-o", metavar="F", help="write here, not to stdout")
    parser.add_argument("--list", action="store_true", help="print the passes there are")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.list:
        print(table([("pass", "on", "what it does"), *known_passes()]))
        return 0
    if args.file is None:
        raise CommandError("which file? `stepwell opt --list` prints the passes")
    source = read_source(args.file)
    if source.kind == "well":
        raise CommandError(
            f"{args.file} is a program, not IR; write its IR with "
            f"`stepwell emit {args.file} --stage graph -o FILE`"
        )
    text = apply_passes(source, args.passes, Trace.start(), args.check_each_pass)
    if args.output:
        write_file(args.output, text.rstrip("\n") + "\n")
    else:
        print_text(text)
    return 0
