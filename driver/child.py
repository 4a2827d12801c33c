"""Work in a child process whose memory is the system's again when it ends.

In: a function that gives bytes. Out: the bytes; None where there is no child to be had, or it
failed: then the caller does the work itself, and meets the error itself.

    in_child(lambda: artefact.pack())   →   b"…"

A forked child has only the thread that forked it: a lock that another thread held stays taken in
it for ever. So there is a child only where this process has one thread that runs Python, and where
the system forks safely (Linux).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable


def in_child(
    work: Callable[[], bytes], meanwhile: Callable[[], object] = lambda: None
) -> bytes | None:
    """What `work` gives, computed in a child; `meanwhile` runs here."""
    if sys.platform != "linux" or threading.active_count() != 1:
        return None
    reader, writer = os.pipe()
    try:
        child = _fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        return None
    if child == 0:
        os.close(reader)
        _answer(work, writer)
    os.close(writer)
    try:
        meanwhile()
        with os.fdopen(reader, "rb") as answer:
            data = answer.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    return data if status == 0 else None


def _fork() -> int:
    with warnings.catch_warnings():
        # Python warns of threads that run no Python, such as those of a sleeping pool.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _answer(work: Callable[[], bytes], writer: int) -> None:
    """In the child: the answer written, and the end, without what this process would do at its."""
    code = 1
    try:
        with os.fdopen(writer, "wb") as answer:
            answer.write(work())
        code = 0
    except BaseException:
        pass  # the parent does the work again, and meets the error itself
    finally:
        os._exit(code)
