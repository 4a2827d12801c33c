"""Programs in the language: checked, and which models they have.

In: a `Source`. Out: a `CheckedProgram`, a model's name. UserError for mistakes in the program,
InputError for a wrong choice of model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.ir.diagnostics import InputError
from stepwell.ir_texts import read_ir
from stepwell.source import Source
from stepwell.suggestions import did_you_mean, listed

if TYPE_CHECKING:
    from stepwell.frontend import CheckedProgram


def checked(source: Source) -> CheckedProgram:
    """The program, every mistake of it found."""
    from stepwell.frontend import check

    return check(source.text, source.file)


def choose_model(program: CheckedProgram, model: str | None) -> str:
    """The named model, or the only one, or the one that is called as its file is."""
    from stepwell.frontend import models

    names = models(program)
    if model is None and len(names) == 1:
        return names[0]
    file = program.root.file
    if model is None and Path(file).stem in names:
        return Path(file).stem
    if not names:
        raise InputError(f"{file} declares no model")
    if model is None:
        raise InputError(f"{file} has the models {listed(names)}: choose one with --model")
    if model not in names:
        hint = did_you_mean(model, names) or f"; there are {listed(names)}"
        raise InputError(f"{file} has no model `{model}`{hint}")
    return model


def model_names(source: Source) -> list[str]:
    """The models in a source; an IR text holds one. Raises UserError for any mistake in it."""
    if source.kind != "well":
        return [read_ir(source).name]
    from stepwell.frontend import models

    return list(models(checked(source)))
