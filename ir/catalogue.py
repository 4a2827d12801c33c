"""The catalogue of diagnostics: every code with its cause, an example and what to do.

    CATALOGUE["SW0203"].title  →  "inner dimensions differ"

`stepwell explain` prints an entry; `python -m stepwell.ir.catalogue` prints `docs/errors.md`.
"""

from __future__ import annotations

from stepwell.ir.catalogue_entry import Entry
from stepwell.ir.catalogue_language import LANGUAGE
from stepwell.ir.catalogue_runs import RUNS
from stepwell.ir.catalogue_texts import IR_TEXTS, PIPELINES
from stepwell.ir.catalogue_training import TRAINING

_ENTRIES = (*LANGUAGE, *TRAINING, *RUNS, *IR_TEXTS, *PIPELINES)
CATALOGUE: dict[str, Entry] = {entry.code: entry for entry in _ENTRIES}

CHAPTERS = {
    "SW01": "Reading a program",
    "SW02": "Shapes, sizes and element types",
    "SW03": "Names and arguments",
    "SW04": "Functions, layers and parameters",
    "SW05": "Arithmetic at compile time, and limits",
    "SW06": "Subscripts and index notation",
    "SW07": "Gradients and training",
    "SW08": "While a model is trained",
    "SW09": "IR texts and pipelines",
}

_HEAD = """\
# Diagnostics

Every mistake that Stepwell reports has a code; `stepwell explain CODE` prints its page. This file
is generated: `python -m stepwell.ir.catalogue > docs/errors.md`.
"""


def explain(code: str) -> str:
    """The page of one code. KeyError where there is none."""
    return CATALOGUE[code].text()


def document() -> str:
    """The text of `docs/errors.md`."""
    parts = [_HEAD]
    for prefix, title in CHAPTERS.items():
        entries = [entry for code, entry in sorted(CATALOGUE.items()) if code.startswith(prefix)]
        if entries:
            parts += [f"## {title}\n", *(entry.markdown() for entry in entries)]
    return "\n".join(parts)


if __name__ == "__main__":
    print(document(), end="")
