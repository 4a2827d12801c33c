"""Ctrl-C and SIGTERM while a run goes on: noted, so that the step can be finished.

    with Interruption() as interruption:
        while not interruption.signal: …        a step
    interruption.deliver()                      what the signal would have done at once

A second signal does not wait. Where the signals were ignored (`nohup`), or this is not the main
thread, everything stays as it was.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """`signal` is the number of the one that came, else 0."""

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in _SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._noted)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def deliver(self) -> None:
        """Let the signal that came do what it does without us: KeyboardInterrupt, or the end."""
        if self.signal:
            signal.raise_signal(self.signal)

    def _noted(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            self.__exit__()
            signal.raise_signal(number)
        self.signal = number
