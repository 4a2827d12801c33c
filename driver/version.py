"""Versions: of Stepwell and what it stands on; a hash of its sources for the keys of the cache."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

_PARTS = (".py", ".lark", ".well")


@lru_cache(maxsize=1)
def stepwell_version() -> str:
    """The installed version; `unknown` where Stepwell is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import

    try:
        return version("stepwell")
    except PackageNotFoundError:
        return "unknown"


@lru_cache(maxsize=1)
def compiler_digest() -> str:
    """A hash of every file of the compiler and of the versions that change its output."""
    import llvmlite
    import numpy as np

    hasher = hashlib.sha256(f"{llvmlite.__version__} {np.__version__}".encode())
    for folder in _folders():
        for path in sorted(p for p in folder.rglob("*") if p.suffix in _PARTS):
            hasher.update(str(path.relative_to(folder)).encode() + b"\0")
            hasher.update(path.read_bytes() + b"\0")
    return hasher.hexdigest()


def _folders() -> list[Path]:
    from stepwell import codegen, frontend, ir, lowering

    files = [Path(__file__), *(Path(str(p.__file__)) for p in (ir, frontend, lowering, codegen))]
    return [file.parent for file in files]
