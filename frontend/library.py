"""Where the files of a program are found: beside the one that names them, then in the library.

In: what follows `use`. Out: a file name and its text; nothing is parsed.

    find_module("nn", False, "net.well")   →   ("stdlib/nn.well", "# layers…")
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stepwell.ir.text_files import read_text_file

# (what is used, whether it is a path, the file that uses it) → (file name, source), or None
Loader = Callable[[str, bool, str], "tuple[str, str] | None"]

LIBRARY = "stdlib/"
ALWAYS = ("prelude", "losses", "optimizers")  # in scope without `use`
_FOLDER = Path(__file__).parent / "stdlib"


def library_names() -> list[str]:
    """The modules of the standard library that `use` can name."""
    return sorted({path.stem for path in _FOLDER.glob("*.well")} - set(ALWAYS))


def library_source(name: str) -> tuple[str, str] | None:
    """A module of the standard library: its file name and source."""
    path = _FOLDER / f"{name}.well"
    if not path.is_file():
        return None
    return f"{LIBRARY}{name}.well", path.read_text(encoding="utf-8")


def find_module(name: str, is_file: bool, used_by: str) -> tuple[str, str] | None:
    """The default loader: the folder of the using file, then the standard library. InputError for
    a file that can't be read as text."""
    folder = Path(used_by).parent
    path = folder / (name if is_file else f"{name}.well")
    if not used_by.startswith(LIBRARY) and path.is_file() and path != Path(used_by):
        return str(path), read_text_file(path)
    return None if is_file else library_source(name)
