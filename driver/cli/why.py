"""`stepwell why`: what `fuse` decided, and its reasons."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from stepwell.cli.arguments import add_compilation, add_json, add_model, add_train_modes, options
from stepwell.compilation import Compilation
from stepwell.ir.diagnostics import InputError
from stepwell.source import read_source
from stepwell.suggestions import did_you_mean

HELP = "print why each value is computed in the kernel that it is in"
DESCRIPTION = """\
For each value of the simplified graph and each kernel that reads it: whether it is computed
inside that kernel or comes from memory, and why. VALUE is its name in the graph
(`stepwell emit --stage graph`)."""
EXAMPLE = """\
stepwell why examples/digits/mlp.well --model mlp
stepwell why examples/digits/digits.well conv_2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .well file, or graph IR")
    parser.add_argument("value", metavar="VALUE", nargs="?", help="only what is decided of this")
    add_model(parser)
    add_train_modes(parser)
    add_compilation(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    decisions = Compilation(read_source(args.file), options(args, args.model)).decisions()
    if args.value is not None:
        value, names = args.value.lstrip("%"), [d.value for d in decisions]
        if value not in names:
            hint = did_you_mean(value, names)
            raise InputError(f"nothing is decided of a value `{value}`{hint}")
        decisions = [decision for decision in decisions if decision.value == value]
    if args.json:
        print(json.dumps([asdict(decision) for decision in decisions], indent=2))
    else:
        print("\n".join(map(str, decisions)))
    return 0
