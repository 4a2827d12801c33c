"""`stepwell check`: find every mistake in a program, and run nothing."""

from __future__ import annotations

import argparse
import json

from stepwell.cli.arguments import add_json
from stepwell.ir.diagnostics import InputError, UserError, VerifyError
from stepwell.programs import entry_names
from stepwell.source import read_source
from stepwell.terminal import print_diagnostics, print_error

HELP = "find every mistake in a program"
DESCRIPTION = """\
Parse, resolve and check programs (or IR texts), and print every mistake with its place.
Nothing is compiled and nothing runs. Exit code 1 if there is a mistake, 2 if a file can't be
read; the others are checked all the same."""
EXAMPLE = "stepwell check examples/digits/digits.well"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help=".well files or IR texts")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    faults: list[UserError] = []
    code = 0
    for path in args.files:
        try:
            models, trains = entry_names(read_source(path))
        except (InputError, VerifyError) as error:
            code = 2 if isinstance(error, InputError) else max(code, 1)
            print_error(str(error))
            continue
        except UserError as error:
            code = max(code, 1)
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
    return code


def _count(names: list[str], kind: str) -> str:
    if not names:
        return f"no {kind}"
    return f"{len(names)} {kind}{'s' if len(names) > 1 else ''}: {', '.join(names)}"
