"""The database of tuned schedules that a compilation consults.

In: a path, or nothing. Out: the path to read, and a digest of what it says, for the cache's key.

    database_for(None)  →  the file beside the cache, where `stepwell tune` has made one; else ""
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stepwell.cache import cache_folder
from stepwell.ir.diagnostics import InputError
from stepwell.ir.target import Target

NAME = "tuning.jsonl"


def default_database() -> Path:
    """Where `stepwell tune` keeps what it finds, unless it is told."""
    return cache_folder() / NAME


def database_for(tuning: str | None) -> str:
    """The database to consult; empty where there is none."""
    if tuning is not None:
        return tuning
    path = default_database()
    return str(path) if path.is_file() else ""


def tuning_digest(database: str, target: Target) -> str:
    """What the database says for a target. InputError where it can't be read."""
    if not database:
        return ""
    from stepwell.lowering.tuning import read_records

    try:
        return json.dumps(read_records(database, target), sort_keys=True)
    except FileNotFoundError:
        raise InputError(f"no file {database}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"can't read the tuned schedules: {error}") from None


def add_records(database: str, lines: Sequence[str]) -> None:
    """Append lines to a database, which is made where there is none."""
    if not lines:
        return
    path = Path(database)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
