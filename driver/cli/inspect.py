"""`stepwell inspect`: what an object or a weights file holds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.descriptions import read_descriptions
from stepwell.report import table
from stepwell.signature import Signature, parse_dim
from stepwell.weights import described, read_weights

HELP = "print what an object or a weights file holds"
DESCRIPTION = """\
Print what a shared object, object file or archive made by `stepwell build` says of itself:
inputs, outputs, sizes and rules on them, parameters, workspace, target, version. Nothing in
it is run. For a weights file: its arrays."""
EXAMPLE = "stepwell inspect libdigits.so"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=".so, .o, .a, .safetensors or .npz")
    parser.add_argument("--json", action="store_true", help="the description as JSON")


def run(args: argparse.Namespace) -> int:
    if Path(args.file).suffix in (".npz", ".safetensors"):
        _print_weights(args.file, args.json)
        return 0
    found = read_descriptions(args.file)
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    print("\n\n".join(_text(description) for description in found))
    return 0


def _text(description: Mapping[str, Any]) -> str:
    signature = Signature.of(description)
    target = description["target"]
    lines = [f"model {signature}", *(f"  rule       {rule}" for rule in signature.rules)]
    lines += [f"  input      {item}" for item in signature.inputs]
    lines += [f"  output     {item}" for item in signature.outputs]
    lines += [
        f"  parameter  {spec.path}: {spec.type}, {_at(description, spec.path)}"
        for spec in signature.parameters
    ]
    lines += [
        f"  prepared   {item['name']}: {_type(item)}, at byte {item['offset']}"
        for item in description["prepared"]
    ]
    lines += [f"  state      {s.path}: {s.type}, at byte {s.offset}" for s in signature.states]
    lines += [
        f"  weights    {description['weights_size']} bytes",
        f"  workspace  {parse_dim(description['workspace'])} bytes",
        f"  target     {target['name']}: {target['cpu']}, {target['triple']}",
        f"  compiler   {description['compiler']}",
        f"  symbols    {description['symbol']}_run and others; see the header",
    ]
    return "\n".join(lines)


def _at(description: Mapping[str, Any], path: str) -> str:
    (offset,) = [p["offset"] for p in description["parameters"] if p["name"] == path]
    return "packed" if offset is None else f"at byte {offset}"


def _type(item: Mapping[str, Any]) -> str:
    return f"{item['dtype']}[{', '.join(map(str, item['shape']))}]"


def _print_weights(path: str, as_json: bool) -> None:
    weights = read_weights(path) or {}
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    if as_json:
        facts = [
            {"name": name, "type": described(array), "bytes": array.nbytes}
            for name, array in arrays.items()
        ]
        print(json.dumps(facts, indent=2))
        return
    rows = [(name, described(array), str(array.nbytes)) for name, array in arrays.items()]
    print(table([("array", "type", "bytes"), *rows]))
