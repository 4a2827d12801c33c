"""What objects that `stepwell build` made say of themselves, read without loading them.

In: a `.so`, `.o` or `.a`, for any machine. Out: the JSON description of each model in it.

    read_descriptions("libdigits.so")  →  [{"format": 1, "name": "digits", "sizes": ["N"], …}]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stepwell.ir.diagnostics import InputError

_START = b'{"format": '


def read_descriptions(path: str | Path) -> list[dict[str, Any]]:
    """Every model's description. InputError where the file can't be read or has none."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
    found: list[dict[str, Any]] = []
    place = data.find(_START)
    while place >= 0:
        end = data.find(b"\0", place)
        description = _parsed(data[place : end if end >= 0 else len(data)])
        if description is not None and description not in found:
            found.append(description)
        place = data.find(_START, place + 1)
    if not found:
        raise InputError(f"{path} was not made by stepwell: nothing in it describes a model")
    return found


def _parsed(text: bytes) -> dict[str, Any] | None:
    from stepwell.codegen.description import FORMAT

    try:
        value = json.loads(text)
    except ValueError:
        return None
    fine = isinstance(value, dict) and {"name", "symbol", "inputs", "outputs"} <= value.keys()
    if fine and value["format"] != FORMAT:
        compiler = value.get("compiler", "another stepwell")
        raise InputError(f"{value['name']} was built by {compiler}, with another C interface")
    return value if fine else None
