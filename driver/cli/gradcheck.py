"""`stepwell gradcheck`: a model's gradients against finite differences."""

from __future__ import annotations

import argparse
from pathlib import Path

from stepwell.cli.arguments import (
    add_json,
    add_model,
    add_statics,
    add_weights,
    read_inputs,
    read_statics,
)
from stepwell.cli.bench import read_sizes

HELP = "compare a model's gradients with finite differences"
DESCRIPTION = """\
Compare the gradient of every input and parameter with central differences, in float64, by the
graph interpreter. What is differentiated is a sum of all results with random factors. Exit code 1
where an error is above the tolerance. Of a train block it is the loss, by each parameter that a
step updates."""
EXAMPLE = "stepwell gradcheck examples/digits/mlp.well --model mlp --size N=4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .well file, or IR text")
    add_model(parser)
    parser.add_argument(
        "--train", metavar="T",
        help="instead of a model: the loss of this train block, by the parameters that it trains",
    )  # fmt: skip
    add_weights(parser)
    parser.add_argument(
        "--input", "-i", metavar="NAME=FILE", action="append", default=[],
        help="an input, as `stepwell run` takes it; others are drawn",
    )  # fmt: skip
    parser.add_argument(
        "--size", metavar="NAME=N", action="append", default=[],
        help="the value of a symbolic size; others are small",
    )  # fmt: skip
    add_statics(parser)
    parser.add_argument(
        "--samples", type=int, default=40, metavar="N",
        help="elements of each tensor that are compared (default: 40)",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", type=float, default=1e-5, metavar="T",
        help="the relative error that is allowed (default: 1e-5)",
    )  # fmt: skip
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from stepwell.gradient_check import gradcheck

    found = gradcheck(
        Path(args.file), args.model, train=args.train, inputs=read_inputs(args.input),
        sizes=read_sizes(args.size), weights=args.weights, statics=read_statics(args.static),
        seed=args.seed, samples=args.samples, tolerance=args.tolerance,
    )  # fmt: skip
    print(found)
    return 0 if found.ok else 1
