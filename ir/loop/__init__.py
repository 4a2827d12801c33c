"""Loop IR: a program of kernels, one loop nest each, over buffers. See docs/loop-ir.md."""

from stepwell.ir.loop.interpreter import interpret_program, run_kernel
from stepwell.ir.loop.parser import parse_kernel, parse_loops
from stepwell.ir.loop.printer import format_kernel, format_loops, format_program
from stepwell.ir.loop.verifier import verify_kernel, verify_loops, verify_program

__all__ = [
    "format_kernel",
    "format_loops",
    "format_program",
    "interpret_program",
    "parse_kernel",
    "parse_loops",
    "run_kernel",
    "verify_kernel",
    "verify_loops",
    "verify_program",
]
