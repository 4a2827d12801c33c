"""Writing files so that a reader sees the old one or the whole new one.

In: a path and bytes. Out: the file, written to the side and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path


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
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    try:
        handle, side = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(side, (0o777 if executable else 0o666) & ~_umask())
        os.replace(side, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(side)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
