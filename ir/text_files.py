"""Reading a text file: what can go wrong is said as an InputError.

read_text_file("digits.well")  →  "use nn…", without a byte order mark
"""

from __future__ import annotations

from pathlib import Path

from stepwell.ir.diagnostics import InputError


def read_text_file(path: str | Path) -> str:
    """The text of a UTF-8 file. InputError where it is not there, no file, or no such text."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: byte {error.start} is bad") from None
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
