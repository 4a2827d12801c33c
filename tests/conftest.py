"""For every test: Ctrl-C is heeded, by this process and by those that it starts.

A shell starts what runs in its background with SIGINT ignored, which children inherit.
"""

from __future__ import annotations

import signal
import threading

if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
