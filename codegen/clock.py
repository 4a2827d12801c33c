"""The time, as compiled code notes it: for the profiling variant of an entry.

In: a builder, the array of a caller. Out: a call of libc's `clock_gettime`, whose 16 bytes (seconds
and nanoseconds, i64) are the array's entry `number`.

    call i32 @clock_gettime(i32 1, ptr %times.3)
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from stepwell.codegen.values import I8, I32, I64, POINTER, LLVMValue

_MONOTONIC = {"darwin": 6}  # the number of CLOCK_MONOTONIC, where it is not Linux's 1
ENTRY = 16  # bytes of a time


def stamp(builder: Any, module: Any, times: LLVMValue, number: int) -> None:
    """Write the time to the array's entry `number`."""
    clock = next((n for system, n in _MONOTONIC.items() if system in module.triple), 1)
    place = builder.gep(times, [ir.Constant(I64, ENTRY * number)], source_etype=I8)
    builder.call(_clock_gettime(module), [ir.Constant(I32, clock), place])


def _clock_gettime(module: Any) -> Any:
    kind = ir.FunctionType(I32, [I32, POINTER])
    name = "clock_gettime"
    return module.globals.get(name) or ir.Function(module, kind, name)
