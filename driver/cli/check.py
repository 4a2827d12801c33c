"""`stepwell check`: find every mistake in a program, and run nothing."""

from __future__ import annotations

import argparse
import json

from stepwell.cli.arguments import add_json
from stepwell.ir.diagnostics import UserError
from stepwell.programs import entry_names
from stepwell.source import read_source
from stepwell.terminal import print_diagnostics

HELP = "find every mistake in a program"
DESCRIPTION = """\
Parse, resolve and check programs (or IR texts), and print every mistake with its place.
Nothing is compiled and nothing runs. Exit code 1 if there is a mistake."""
EXAMPLE = "stepwell check examples/digits/digits.well"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help=".well files or IR texts")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    faults: list[UserError] = []
    for path in args.files:
        source = read_source(path)
        try:
            models, trains = entry_names(source)
        except UserError as error:
            faults.append(error)
            if not args.json:
                print_diagnostics(error)
            continue
        if not args.json:
            blocks = f"; {_count(trains, 'train block')}" if trains else ""
            print(f"{path}: no mistakes, {_count(models, 'model')}{blocks}")
    if args.json:
        found = [item.as_json() for error in faults for item in error.diagnostics]
        print(json.dumps(found, indent=2))
    return 1 if faults else 0


def _count(names: list[str], kind: str) -> str:
    if not names:
        return f"no {kind}"
    return f"{len(names)} {kind}{'s' if len(names) > 1 else ''}: {', '.join(names)}"
