"""The command line: `stepwell COMMAND …`.

In: arguments. Out: text on stdout, diagnostics on stderr, files, and an exit code:

    0  fine
    1  the program is at fault (diagnostics were printed)
    2  the command line is, or what it names
    3  a bug in Stepwell
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

from stepwell import terminal
from stepwell.cli import (
    bench,
    build,
    cache,
    check,
    doctor,
    emit,
    explain,
    gradcheck,
    inspect,
    opt,
    run,
    train,
    tune,
    why,
)
from stepwell.cli.arguments import CommandError
from stepwell.ir.diagnostics import (
    InputError,
    InternalError,
    StepwellError,
    UserError,
    VerifyError,
)
from stepwell.reproducer import write_reproducer

COMMANDS: dict[str, ModuleType] = {
    "check": check,
    "run": run,
    "train": train,
    "build": build,
    "emit": emit,
    "opt": opt,
    "why": why,
    "bench": bench,
    "tune": tune,
    "gradcheck": gradcheck,
    "inspect": inspect,
    "explain": explain,
    "cache": cache,
    "doctor": doctor,
}

DESCRIPTION = """\
A compiler for tensor models: from a small language to native code, every step visible.

  check a program, run it, train it, build a library from it, or look at it on any step down."""

ENVIRONMENT = """\
environment:
  STEPWELL_DEBUG=1..5   say more on stderr; each level adds to the one before:
                        1 kernels, 2 times of passes, 3 the IR after each pass that
                        changed it, 4 LLVM IR, 5 assembly
  STEPWELL_CACHE_DIR    where compiled programs are kept (else the XDG cache folder)
  STEPWELL_THREADS      at most so many threads (else OMP_NUM_THREADS, else the usable cores)
  STEPWELL_TARGET_CPU   what "native" stands for: a name that --target-cpu takes
  NO_COLOR              no colours, even on a terminal

exit codes: 0 fine, 1 the program is at fault, 2 the command line is, 3 a bug in Stepwell"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="stepwell", description=DESCRIPTION, epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--version", action="store_true", help="print the version")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, module in COMMANDS.items():
        sub = commands.add_parser(
            name, help=module.HELP, description=module.DESCRIPTION,
            epilog=f"example:\n{_indented(module.EXAMPLE)}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        module.add_arguments(sub)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    _prepare_streams()
    try:
        code = _main(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader went away: nobody is there to tell
        _drop_output()
        return 141
    except OSError as error:  # what was printed could not be written
        _drop_output()
        return report(error)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    return code


def _prepare_streams() -> None:
    """Printing cannot fail: neither where the shell closed a stream (`>&-`, None in Python) nor
    where a character is none of the terminal's."""
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Keep the interpreter's last flush of stdout quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(argv: Sequence[str] | None) -> int:
    top = parser()
    try:
        args = top.parse_args(argv)
    except SystemExit as stop:  # argparse has printed its message
        return stop.code if isinstance(stop.code, int) else 2
    if args.version:
        from stepwell.version import stepwell_version

        print(f"stepwell {stepwell_version()}")
        return 0
    if args.command is None:
        top.print_help()
        return 2
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: terminal.print_warning(str(message))
            code: int = COMMANDS[args.command].run(args)
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as error:
        return report(error, bool(getattr(args, "json", False)))
    return code


def report(error: Exception, as_json: bool = False) -> int:
    """Say what went wrong, as an error of its kind is said; the exit code."""
    match error:
        case UserError():
            if as_json:
                print(json.dumps([item.as_json() for item in error.diagnostics], indent=2))
            else:
                terminal.print_diagnostics(error)
            return 2 if error.diagnostics[0].span.file == "<passes>" else 1
        case VerifyError():
            terminal.print_error(str(error))
            return 1
        case CommandError() | InputError():
            terminal.print_error(str(error))
            return 2
        case OSError(filename=str() | bytes()):
            # Of a rename, the second name is the one that was asked for.
            terminal.print_error(f"{error.filename2 or error.filename}: {error.strerror}")
            return 2
        case OSError(errno=int()):  # a stream: the disk is full
            terminal.print_error(f"can't write: {error.strerror}")
            return 2
        case MemoryError():
            terminal.print_error(f"out of memory: {error}".rstrip(": "))
            return 1
        case StepwellError() if not isinstance(error, InternalError):  # there is no linker
            terminal.print_error(str(error))
            return 2
    terminal.print_error(write_reproducer(error))
    return 3


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
