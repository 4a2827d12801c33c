"""The native runtime: the pool of threads, as LLVM IR that goes into each object that needs one.

In: a target. Out: the text of a module that defines the two functions

    void stepwell.pool.resolve(stepwell_pool *result, const stepwell_pool *given)
    void stepwell.pool.stop(void)

`pool.ll` is fork-join, `thread_count.ll` how many threads there are, `resolve.ll` what a caller's
`const stepwell_pool *` comes to. They need libc alone; LIBC names what of it.
"""

from __future__ import annotations

from pathlib import Path
from string import Template

from stepwell.ir.target import Target

RESOLVE = "stepwell.pool.resolve"
STOP = "stepwell.pool.stop"
MOST_THREADS = 256
LIBC = frozenset(
    (
        *("pthread_create", "pthread_join", "pthread_sigmask", "sched_getaffinity"),
        *("getpid", "syscall", "getenv", "strtol", "open", "read", "close"),
    )
)

_SPINS = 2000  # of some 10 to 30 ns each
_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}  # the system call's number
_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}


def runtime_text(target: Target) -> str:
    """The module. The two functions are weak: of several objects with it in one program, one's is
    taken by all."""
    linux = "linux" in target.triple and target.architecture in _FUTEX
    declare, pause = _PAUSE.get(target.architecture, ("", ""))
    names = ("pool", "thread_count", "resolve") if linux else ("serial", "resolve")
    folder = Path(__file__).parent
    text = "\n".join((folder / f"{name}.ll").read_text(encoding="utf-8") for name in names)
    return Template(text).substitute(
        MOST=MOST_THREADS, SPINS=_SPINS, FUTEX=_FUTEX.get(target.architecture, 0),
        DECLARE_PAUSE=declare, PAUSE=pause,
    )  # fmt: skip


def stop_at_unload() -> str:
    """Has the loader end the threads before it takes the code away, at exit or `dlclose`."""
    return (
        "\n@llvm.global_dtors = appending global [1 x { i32, ptr, ptr }] "
        f"[{{ i32, ptr, ptr }} {{ i32 65535, ptr @{STOP}, ptr null }}]\n"
    )
