"""Programs in the language: checked, and which models and train blocks they have.

In: a `Source`. Out: a `CheckedProgram`, a model's name, a train block's. UserError for mistakes in
the program, InputError for a wrong choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.cache import DiskCache
from stepwell.ir.diagnostics import InputError
from stepwell.ir_texts import read_ir
from stepwell.source import Source
from stepwell.suggestions import did_you_mean, listed
from stepwell.version import compiler_digest

if TYPE_CHECKING:
    from stepwell.frontend import CheckedProgram


def checked(source: Source) -> CheckedProgram:
    """The program, every mistake of it found."""
    from stepwell.frontend import check

    return check(source.text, source.file)


def provide_parser(cache: DiskCache) -> None:
    """The parser's tables from the cache or into it, before this process parses anything."""
    from lark import __version__

    from stepwell.frontend.parser import give_parser, has_parser, saved_parser

    if not has_parser():
        about = f"parser\0{compiler_digest()}\0{__version__}"
        give_parser(cache.kept(about, saved_parser))


def choose_model(program: CheckedProgram, model: str | None) -> str:
    """The named model, or the only one, or the one that is called as its file is."""
    from stepwell.frontend import models

    return _chosen(models(program), model, program.root.file, "model", "--model")


def choose_train(program: CheckedProgram, train: str | None) -> str:
    """The same of a train block."""
    from stepwell.frontend import trains

    return _chosen(trains(program), train, program.root.file, "train block", "--train")


def _chosen(names: Sequence[str], name: str | None, file: str, kind: str, option: str) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name is None and Path(file).stem in names:
        return Path(file).stem
    if not names:
        raise InputError(f"{file} declares no {kind}")
    if name is None:
        raise InputError(f"{file} has the {kind}s {listed(names)}: choose one with {option}")
    if name not in names:
        hint = did_you_mean(name, names) or f"; there are {listed(names)}"
        raise InputError(f"{file} has no {kind} `{name}`{hint}")
    return name


def model_names(source: Source) -> list[str]:
    """The models in a source. Raises UserError for any mistake in it."""
    return entry_names(source)[0]


def entry_names(source: Source) -> tuple[list[str], list[str]]:
    """The models and the train blocks in a source; an IR text holds one model. Raises UserError
    for any mistake in it."""
    if source.kind != "well":
        return [read_ir(source).name], []
    from stepwell.frontend import models, trains

    program = checked(source)
    return list(models(program)), list(trains(program))
