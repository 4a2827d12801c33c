"""`stepwell explain`: what a diagnostic's code means, with an example and its mending."""

from __future__ import annotations

import argparse

from stepwell.cli.arguments import CommandError
from stepwell.suggestions import did_you_mean
from stepwell.terminal import print_text

HELP = "explain a diagnostic's code"
DESCRIPTION = "Explain a code such as SW0203, or list all codes."
EXAMPLE = "stepwell explain SW0203"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("code", metavar="CODE", nargs="?", help="without it, all are listed")


def run(args: argparse.Namespace) -> int:
    from stepwell.ir.catalogue import CATALOGUE, explain

    if args.code is None:
        for code, entry in CATALOGUE.items():
            print(f"{code}  {entry.title}")
        return 0
    code = args.code.upper()
    if code not in CATALOGUE:
        hint = did_you_mean(code, CATALOGUE) or "; `stepwell explain` lists all"
        raise CommandError(f"there is no code `{args.code}`{hint}")
    print_text(explain(code))
    return 0
