"""A child process that answers, and may crash or hang without taking the tests with it.

In: a function from a text to an answer. Out: its answers; `Died` or `Late` with what is known.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import struct
import traceback
from collections.abc import Callable

MEMORY = 6 << 30


class Died(Exception):
    """The child process is gone: an abort, a crash, or out of memory."""


class Late(Exception):
    """No answer within the limit."""


class Failed(Exception):
    """The function raised; the message is the child's traceback."""


class Worker:
    """Calls `function(request)` in a child that is forked when needed."""

    def __init__(self, function: Callable[[object], object], limit_s: float) -> None:
        self.function, self.limit_s = function, limit_s
        self.child = 0
        self.ends: tuple[int, ...] = ()  # of the pipes, on this side

    def __call__(self, request: object) -> object:
        if not self.child:
            self._start()
        _send(self.to_child, request)
        ready, _, _ = select.select([self.from_child], [], [], self.limit_s)
        if not ready:
            self.stop()
            raise Late(f"no answer within {self.limit_s:g} s")
        answer = _receive(self.from_child)
        if answer is None:
            _, status = os.waitpid(self.child, 0)
            self.child = 0
            self.stop()
            how = (
                signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else str(status)
            )
            raise Died(how)
        good, value = answer
        if not good:
            raise Failed(value)
        return value

    def stop(self) -> None:
        """Ends the child."""
        if self.child:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
            self.child = 0
        for end in self.ends:
            os.close(end)
        self.ends = ()

    def _start(self) -> None:
        request_reader, self.to_child = os.pipe()
        self.from_child, answer_writer = os.pipe()
        self.ends = (self.to_child, self.from_child)
        self.child = os.fork()
        if self.child == 0:
            os.close(self.to_child)  # so that the end of the parent is the end of the requests
            os.close(self.from_child)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            while (request := _receive(request_reader)) is not None:
                try:
                    answer: tuple[bool, object] = (True, self.function(request))
                except BaseException:
                    answer = (False, traceback.format_exc(limit=-12))
                _send(answer_writer, answer)
            os._exit(0)
        os.close(request_reader)
        os.close(answer_writer)


def _send(end: int, value: object) -> None:
    data = pickle.dumps(value)
    data = struct.pack("<q", len(data)) + data
    while data:
        data = data[os.write(end, data) :]


def _receive(end: int):  # type: ignore[no-untyped-def]
    """The next value; None at the end of the stream."""
    head = _read(end, 8)
    if len(head) < 8:
        return None
    (size,) = struct.unpack("<q", head)
    body = _read(end, size)
    return pickle.loads(body) if len(body) == size else None


def _read(end: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := os.read(end, size - len(data))):
        data += part
    return data
