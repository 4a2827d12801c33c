"""What is compiled: the text, its name, and which of Stepwell's three languages it is in.

In: a path or a text. Out: a `Source`. IR texts are told from programs by their content, whatever
the file is called.

    read_source("digits.well")  →  Source("digits.well", "use nn…", "well")
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from stepwell.ir.diagnostics import InputError
from stepwell.ir.text_files import read_text_file

Kind = Literal["well", "graph", "loops"]

_SOURCES = r"sources\s*\{(?:\"(?:[^\"\\]|\\.)*\"|[^\"}])*\}\s*"
_FIRST_WORD = re.compile(rf"(?:\s|//[^\n]*+|#[^\n]*+)*+(?:{_SOURCES})?(graph|program|kernel)[\s@`]")
_LOWEST = re.compile(r"; ModuleID|\s*\.(?:file|text)\b")  # LLVM IR, assembly
_OBJECTS = (".so", ".o", ".a", ".dylib")
_USE = re.compile(r"\buse\s+(?:\"([^\"\n]*)\"|(\w+))")


@dataclass(frozen=True)
class Source:
    """A text, the name shown for it, and its kind."""

    file: str
    text: str
    kind: Kind

    @cached_property
    def dependencies(self) -> tuple[tuple[str, str], ...]:
        """(file, text) of every file that may be used, found without parsing: names in `use`."""
        if self.kind != "well":
            return ()
        from stepwell.frontend import find_module

        found: dict[str, str] = {}
        pending = [(self.file, self.text)]
        while pending:
            file, text = pending.pop()
            for path, name in _USE.findall(text):
                module = find_module(path or name, bool(path), file)
                if module is not None and module[0] not in found:
                    found[module[0]] = module[1]
                    pending.append(module)
        return tuple(sorted(found.items()))

    @cached_property
    def digest(self) -> str:
        """A hash of all text that the compilation reads (the compiler's own library aside)."""
        hasher = hashlib.sha256()
        for file, text in ((self.file, self.text), *self.dependencies):
            for part in (file, text):
                data = part.encode("utf-8", "surrogatepass")
                hasher.update(len(data).to_bytes(8, "little") + data)
        return hasher.hexdigest()


def kind_of(text: str) -> Kind:
    """Graph IR begins with `graph`, loop IR with `program` or `kernel`, comments aside."""
    match = _FIRST_WORD.match(text)
    if match is None:
        return "well"
    return "graph" if match.group(1) == "graph" else "loops"


def read_source(path: str | Path) -> Source:
    """The file at `path`, or stdin for `-`. InputError where that is no text of the three."""
    if str(path) == "-":
        return replace(read_source("/dev/stdin"), file="<stdin>")
    try:
        str(path).encode()
    except UnicodeEncodeError:  # IR texts and messages hold the name
        raise InputError(f"the name {str(path)!a} is not UTF-8 text") from None
    if Path(path).suffix in _OBJECTS and Path(path).is_file():
        message = "holds native code, not a program: `stepwell.load` and `stepwell run` take it"
        raise InputError(f"{path} {message}")
    text = read_text_file(path)
    if _LOWEST.match(text):
        raise InputError(
            f"{path} is LLVM IR or assembly: only graph and loop IR can be gone on from"
        )
    return Source(str(path), text, kind_of(text))


def as_source(path_or_source: str | Path) -> Source:
    """A `Path`, or a word without line breaks or braces, names a file; all else is the text."""
    if isinstance(path_or_source, Path):
        return read_source(path_or_source)
    if not isinstance(path_or_source, str):
        raise InputError(f"a path or a text is wanted, not {path_or_source!r}")
    if "\n" in path_or_source or "{" in path_or_source or not path_or_source:
        return Source("<source>", path_or_source, kind_of(path_or_source))
    return read_source(path_or_source)
