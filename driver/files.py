"""Writing files so that a reader sees the old one or the whole new one.

In: a path and bytes. Out: the file, written to the side and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stepwell.ir.diagnostics import InputError


def require_file(path: str | Path, what: str) -> Path:
    """The path of a file to write later. InputError where it is none, or its folder is missing."""
    if not isinstance(path, str | Path):
        raise InputError(f"{what}: {path!r} is no path")
    if not Path(path).absolute().parent.is_dir():
        raise InputError(f"{what} {path}: there is no such folder")
    if Path(path).is_dir():
        raise InputError(f"{what} {path} is a folder, not a file")
    return Path(path)


def write_file(path: str | Path, data: bytes | str, executable: bool = False) -> None:
    """Write beside `path`, then rename over it. A device or a pipe is written to directly.

    Raises OSError where the folder does not exist or can't be written.
    """
    content = data.encode(errors="surrogateescape") if isinstance(data, str) else data
    device = str(path).startswith("/dev/")
    path = Path(path) if device else Path(os.path.realpath(path))
    if device or (path.exists() and not stat.S_ISREG(path.stat().st_mode)):
        with path.open("wb") as file:
            file.write(content)
        return
    with replacing(path, executable) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path, executable: bool = False, durable: bool = False) -> Iterator[BinaryIO]:
    """A file beside `path` to write to; at the end it takes the name, after an error it goes.

    `durable` waits until the disk has it, so that a machine that stops has the old or the new one.
    Raises OSError as `write_file` does.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    try:
        handle, side = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(side, (0o777 if executable else 0o666) & ~_umask())
        os.replace(side, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(side)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's names, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
