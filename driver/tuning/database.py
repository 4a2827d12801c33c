"""The database of tuned schedules that a compilation consults.

In: a path, or nothing. Out: the path to read, what it says, and a digest of that, for the cache's
key.

    database_for(None)  →  the file beside the cache, where `stepwell tune` has made one; else ""
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.cache import cache_folder
from stepwell.files import write_file
from stepwell.ir.diagnostics import InputError
from stepwell.ir.target import Target

if TYPE_CHECKING:
    from stepwell.lowering.tuning import Database, Records

Record = Mapping[str, Any]  # a line of a database

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


def read_database(path: str, target: Target) -> Records:
    """What a database says for a target. Warns of lines that are no records; InputError where it
    can't be read, or nothing in it is one."""
    from stepwell.lowering.tuning import Database

    try:
        database = Database.read(path)
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except OSError as error:
        raise InputError(f"can't read the tuned schedules: {error}") from None
    if database.damaged:
        _tell_of_damage(path, database)
    return database.best(target)


def _tell_of_damage(path: str, database: Database) -> None:
    first = database.damaged[0]
    if not database.records:
        raise InputError(f"{path}:{first}: no record of a tuned kernel, nor is any other line one")
    rest = len(database.damaged) - 1
    more = f", nor are {rest} more lines" if rest else ""
    warnings.warn(f"{path}:{first}: no record of a tuned kernel{more}: passed over", stacklevel=4)


def tuning_digest(path: str, target: Target) -> str:
    """What the database says for a target, for the cache's key."""
    return json.dumps(read_database(path, target), sort_keys=True) if path else ""


def known(path: str, target: Target) -> Records:
    """What is in a database that may not be there yet."""
    return read_database(path, target) if Path(path).exists() else {}


def keep(path: str, tuned: Sequence[Record]) -> None:
    """Write what was found, at once: a record for each kernel that was tuned, of which those
    without choices take away what was kept for them before."""
    from stepwell.lowering.tuning import Database

    place = Path(path)
    old: Sequence[Record] = Database.read(place).records if place.exists() else ()
    again = {(record["target"], record["kernel"]) for record in tuned}
    lines = [record for record in old if (record["target"], record["kernel"]) not in again]
    lines += [record for record in tuned if record["knobs"]]
    if not lines and not old:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    write_file(place, "".join(json.dumps(record) + "\n" for record in lines))
