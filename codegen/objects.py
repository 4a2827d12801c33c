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
from stepwell.codegen.compile import Object
from stepwell.codegen.header import header_text
from stepwell.codegen.link import LinkError, link_relocatable, link_shared
from stepwell.codegen.llvm import Embedding, models_text
from stepwell.codegen.main_program import main_text
from stepwell.codegen.modules import compile_objects
from stepwell.codegen.runtime import runtime_text, stop_at_unload
from stepwell.codegen.training_main import training_main_text, trains
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
    states: Mapping[str, Array] | None = None,
    seed: int = 0,
) -> list[Path]:
    """Makes the object that `output`'s suffix names, and beside it the header and `main.c`.

    `weights` maps a program's name to its prepared weights; they are embedded, or written beside as
    `NAME.weights`; `states` to what its state is at first, drawn with `seed`, which goes into
    `NAME.state`. Returns the files made. Raises LinkError.
    """
    if output.suffix not in SUFFIXES:
        raise LinkError(f"{output.name}: the suffix must be one of {', '.join(SUFFIXES)}")
    weights = weights or {}
    folder = output.parent
    with tempfile.TemporaryDirectory(prefix="stepwell-") as scratch:
        # One object file is made as one module: it needs no linker.
        split = output.suffix != ".o"
        objects = _objects(programs, target, Path(scratch), weights if embed else {}, split)
        with written(output) as path:
            _combine(objects, path, output, target)
    stem = output.stem.removeprefix("lib") or output.stem
    header = folder / f"{stem}.h"
    made = [output, header, folder / "main.c"]
    write_text(header, header_text(programs))
    write_text(folder / "main.c", _main(programs[0], header.name, stem, seed))
    beside = {"weights": {} if embed else weights, "state": states or {}}
    for program in programs:
        for suffix, blocks in beside.items():
            if program.name in blocks:
                path = folder / f"{c_names.symbol(program.name)}.{suffix}"
                with written(path) as temporary:
                    blocks[program.name].tofile(temporary)
                made.append(path)
    return made


def _main(program: Program, header: str, library: str, seed: int) -> str:
    """A program that runs the model, or trains by the step that the model is."""
    if trains(program):
        return training_main_text(program, header, library, seed)
    return main_text(program, header, library)


def _objects(
    programs: Sequence[Program], target: Target, folder: Path, embedded: Mapping[str, Array],
    split: bool,
) -> list[tuple[Path, Object]]:  # fmt: skip
    """The objects of each program, and the files that hold them."""
    found = []
    runtime = runtime_text(target) + stop_at_unload()
    names = [c_names.symbol(program.name) for program in programs]
    for number, (name, program) in enumerate(zip(names, programs, strict=True)):
        embedding = _embedding(embedded.get(program.name), target, folder, number)
        models = models_text(names) if number == 0 else ""
        objects = compile_objects(
            program, target, embedding=embedding, models=models, runtime=runtime, split=split
        )
        for part, each in enumerate(objects):
            path = folder / f"{name}.{number}.{part}.o"
            path.write_bytes(each.data)
            found.append((path, each))
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
    objects: Sequence[tuple[Path, Object]], path: Path, output: Path, target: Target
) -> None:
    paths = [file for file, _ in objects]
    if output.suffix == ".o":
        if len(paths) == 1:
            path.write_bytes(paths[0].read_bytes())
        else:
            link_relocatable(paths, path, target)
    elif output.suffix == ".a":
        members = [Member(file.name, each.data, each.defines) for file, each in objects]
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
