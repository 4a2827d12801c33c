"""`stepwell check`: find every mistake in a program, and run nothing."""

from __future__ import annotations

import argparse
import json

from stepwell.cli.arguments import add_json
from stepwell.ir.diagnostics import UserError
from stepwell.programs import model_names
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
            names = model_names(source)
        except UserError as error:
            faults.append(error)
            if not args.json:
                print_diagnostics(error)
            continue
        if not args.json:
            print(f"{path}: no mistakes, {_count(names)}")
    if args.json:
        found = [item.as_json() for error in faults for item in error.diagnostics]
        print(json.dumps(found, indent=2))
    return 1 if faults else 0


def _count(names: list[str]) -> str:
    if not names:
        return "no model"
    return f"{len(names)} model{'s' if len(names) > 1 else ''}: {', '.join(names)}"
