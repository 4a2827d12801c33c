"""Artefacts on disk: object files, archives, shared objects, with header, example and weights.

In: programs and a target, a path whose suffix says what to make. Out: files, each written to the
side and then renamed.

    build([program], host(), Path("libdigits.so"), {"digits": weights})
      →   libdigits.so, digits.h, main.c, digits.weights
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.codegen import c_names
from stepwell.codegen.archive import Member, archive_bytes
from stepwell.codegen.compile import defined_symbols, object_bytes
from stepwell.codegen.header import header_text
from stepwell.codegen.link import LinkError, link_relocatable, link_shared
from stepwell.codegen.llvm import Embedding, llvm_text, models_text
from stepwell.codegen.main_program import main_text
from stepwell.codegen.runtime import RESOLVE, runtime_text, stop_at_unload
from stepwell.ir.loop.core import Program
from stepwell.ir.target import Target, host

SUFFIXES = (".so", ".o", ".a", ".dylib")
Array = np.ndarray[Any, np.dtype[Any]]


def build(
    programs: Sequence[Program],
    target: Target,
    output: Path,
    weights: Mapping[str, Array] | None = None,
    embed: bool = False,
) -> list[Path]:
    """Makes the object that `output`'s suffix names, and beside it the header and `main.c`.

    `weights` maps a program's name to its prepared weights; they are embedded, or written beside as
    `NAME.weights`. Returns the files made. Raises LinkError.
    """
    if output.suffix not in SUFFIXES:
        raise LinkError(f"{output.name}: the suffix must be one of {', '.join(SUFFIXES)}")
    weights = weights or {}
    folder = output.parent
    with tempfile.TemporaryDirectory(prefix="stepwell-") as scratch:
        objects = _objects(programs, target, Path(scratch), weights if embed else {})
        with written(output) as path:
            _combine(objects, path, output, target)
    stem = output.stem.removeprefix("lib") or output.stem
    header = folder / f"{stem}.h"
    made = [output, header, folder / "main.c"]
    write_text(header, header_text(programs))
    write_text(folder / "main.c", main_text(programs[0], header.name, stem))
    if not embed:
        for program in programs:
            if program.name in weights:
                path = folder / f"{c_names.symbol(program.name)}.weights"
                with written(path) as temporary:
                    weights[program.name].tofile(temporary)
                made.append(path)
    return made


def _objects(
    programs: Sequence[Program], target: Target, folder: Path, embedded: Mapping[str, Array]
) -> list[tuple[Path, list[str]]]:
    """An object per program, with the symbols it defines."""
    found = []
    for number, program in enumerate(programs):
        embedding = _embedding(embedded.get(program.name), target, folder, number)
        text = llvm_text(program, target, embedding=embedding)
        if number == 0:
            text += models_text([c_names.symbol(p.name) for p in programs])
        path = folder / f"{c_names.symbol(program.name)}.{number}.o"
        runtime = runtime_text(target) + stop_at_unload() if RESOLVE in text else ""
        path.write_bytes(object_bytes(text, target, runtime))
        found.append((path, defined_symbols(text)))
    return found


def _embedding(
    weights: Array | None, target: Target, folder: Path, number: int
) -> Embedding | None:
    """How weights get into the object: the assembler includes a file where it can."""
    if weights is None or weights.size == 0:
        return None
    # Module-level assembly needs the target's assembler, which only the host's own LLVM part has.
    if target.architecture == host().architecture and "linux" in target.triple:
        path = folder / f"weights.{number}"
        weights.tofile(path)
        return Embedding(weights.size, path=str(path))
    return Embedding(weights.size, data=weights.tobytes())


def _combine(
    objects: Sequence[tuple[Path, list[str]]], path: Path, output: Path, target: Target
) -> None:
    paths = [object for object, _ in objects]
    if output.suffix == ".o":
        if len(paths) == 1:
            path.write_bytes(paths[0].read_bytes())
        else:
            link_relocatable(paths, path, target)
    elif output.suffix == ".a":
        members = [Member(p.name, p.read_bytes(), tuple(symbols)) for p, symbols in objects]
        path.write_bytes(archive_bytes(members))
    else:
        link_shared(paths, path, target, output.name)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which then takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        executable = path.suffix in (".so", ".dylib")
        temporary.chmod((0o777 if executable else 0o666) & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file to the side and renames it."""
    with written(path) as temporary:
        # The name of a header may be any bytes.
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
