"""The table of operators for `docs/graph-ir.md`, made from the registry.

python -m stepwell.ir.graph.table docs/graph-ir.md      writes the table into the document
"""

from __future__ import annotations

import sys
from pathlib import Path

from stepwell.ir.dtypes import ALL
from stepwell.ir.graph import FAMILIES, REGISTRY
from stepwell.ir.graph.core import Example, NoBody, NotDifferentiable, OpDef
from stepwell.ir.text import format_formula

BEGIN, END = "<!-- operators: begin -->", "<!-- operators: end -->"
_TITLES = {
    "constants": "Constants",
    "elementwise": "Element by element",
    "random": "Random bits",
    "movement": "Moving elements",
    "selection": "Taking parts, joining them",
    "scatter": "Adding rows to places",
    "reduction": "Reductions",
    "contraction": "Contraction",
    "convolution": "Convolution",
    "window": "Windows",
    "index": "Index notation",
    "differentiation": "Differentiation",
    "kernel": "Kernels",
}


def operator_table() -> str:
    """Every operator with its operands, attributes, gradient and body, by family."""
    parts: list[str] = []
    for family in FAMILIES:
        name = family.__name__.rpartition(".")[2]
        members = [d for d in REGISTRY.values() if d.infer.__module__ == family.__name__]
        parts += [f"### {_TITLES[name]}", "", "| operator | computes | element types | gradient |"]
        parts += ["|---|---|---|---|", *map(_row, members), ""]
        parts += _attributes(members)
        parts += _bodies(members)
    return "\n".join(parts).rstrip() + "\n"


def _row(definition: OpDef) -> str:
    operands = ", ".join(definition.operands)
    gradient = definition.gradient
    shown = f"no: {gradient.why}" if isinstance(gradient, NotDifferentiable) else "yes"
    call = f"{definition.name}({operands})" if operands else definition.name
    return f"| `{call}` | `{definition.formula}` | {_dtypes(definition)} | {shown} |"


def _dtypes(definition: OpDef) -> str:
    names = [dtype.name for dtype in ALL if definition.examples(dtype)]
    if len(names) == len(ALL) or not names:
        return "all"
    kinds = {
        ("f64", "f32", "f16", "bf16"): "floats",
        ("i64", "i32", "i16", "i8", "u8", "bool"): "integers and bool",
        tuple(dtype.name for dtype in ALL if not dtype.is_bool): "all but bool",
    }
    return kinds.get(tuple(names), ", ".join(names))


def _attributes(members: list[OpDef]) -> list[str]:
    rows = [
        f"| `{definition.name}` | `{item.name}` | {item.kind} | {item.doc} |"
        for definition in members
        for item in definition.attributes
    ]
    head = ["| operator | attribute | kind | meaning |", "|---|---|---|---|"]
    return [*head, *rows, ""] if rows else []


def _bodies(members: list[OpDef]) -> list[str]:
    """The most telling example of each body; of the first alone where all are alike."""
    lines = [_telling(d) for d in (members[:1] if len(members) > 12 else members)]
    return ["```", *filter(None, lines), "```", ""] if any(lines) else []


def _telling(definition: OpDef) -> str:
    """The body of an f32 example (or of the first element type with any) that says most."""
    if isinstance(definition.body, NoBody):
        return ""
    dtypes = sorted(ALL, key=lambda dtype: dtype.name != "f32")
    examples = next(filter(None, (definition.examples(dtype) for dtype in dtypes)), ())
    bodies = [_body_text(definition, example) for example in examples]
    return max((b for b in bodies if len(b) < 120 and ": 0" not in b), key=len, default="")


def _body_text(definition: OpDef, example: Example) -> str:
    assert not isinstance(definition.body, NoBody), "asked for a body"
    types = definition.infer(example.operands, example.attributes)
    formulas = definition.body(example.operands, example.attributes, types)
    return f"{definition.name:12} {'; '.join(map(format_formula, formulas))}"


def with_table(document: str) -> str:
    """The document with the table between its two marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{operator_table()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
