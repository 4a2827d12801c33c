"""Linking objects: the system's C compiler, else Zig's from PyPI.

In: object files. Out: a shared object that depends on libc alone.

    link_shared([Path("digits.o")], Path("libdigits.so"), target)
      →   cc -shared -o libdigits.so -Wl,-soname,libdigits.so … digits.o
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stepwell.ir.diagnostics import StepwellError
from stepwell.ir.target import Target, host


class LinkError(StepwellError):
    """There is no linker, or it refused."""


def linker(target: Target | None = None) -> list[str]:
    """The command that links: $CC, else `cc`, else `python -m ziglang cc`.

    For another architecture than this machine's, which `cc` does not know: $CC, else Zig's.
    """
    chosen = os.environ.get("CC", "").strip()
    if chosen:
        return _command(chosen)
    foreign = target is not None and target.architecture != host().architecture
    for name in () if foreign else ("cc", "gcc", "clang"):
        found = shutil.which(name)
        if found:
            return [found]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    if target is not None and foreign:
        raise LinkError(
            f"no linker for {target.architecture}: neither does $CC name a compiler for it nor is "
            "the PyPI package `ziglang` installed; run `pip install 'stepwell[link]'`, or make an "
            "object (-o NAME.o) or an archive (-o NAME.a), which need no linker"
        )
    raise LinkError(
        "no linker: neither a C compiler (`cc`, or what $CC names) nor the PyPI package `ziglang` "
        "is installed; install a C compiler, or run `pip install 'stepwell[link]'`"
    )


def _command(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise LinkError(f"$CC is `{text}`, which is no command: {error}") from None


def link_shared(objects: Sequence[Path], output: Path, target: Target, soname: str) -> None:
    """Links the objects into the shared object `output`, which is known to loaders as `soname`."""
    command = [*_linker_for(target), "-shared", "-o", str(output)]
    if "darwin" in target.triple or "apple" in target.triple:
        command += [f"-Wl,-install_name,@rpath/{soname}"]
    else:
        command += [f"-Wl,-soname,{soname}", "-Wl,--as-needed", "-Wl,-z,noexecstack"]
        command += ["-Wl,-z,defs"]  # a call into a library other than libc is our bug: say so now
    # Few models call libc; that it is needed is said all the same, as loaders then order it right.
    # An older libc has its threads in a library beside it.
    libc = ["-lpthread", "-Wl,--no-as-needed", "-lc"]
    libc = [] if "apple" in target.triple else libc
    _run([*command, *map(str, objects), *libc])


def link_relocatable(objects: Sequence[Path], output: Path, target: Target) -> None:
    """Links the objects into one object file."""
    command = [*_linker_for(target), "-r", "-nostdlib", "-o", str(output)]
    _run([*command, *map(str, objects)])


def _linker_for(target: Target) -> list[str]:
    """The command; Zig links for any machine, if told which."""
    command = linker(target)
    if "ziglang" not in command:
        return command
    system = "macos" if "darwin" in target.triple or "apple" in target.triple else "linux-gnu"
    return [*command, "-target", f"{target.architecture}-{system}"]


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LinkError(f"cannot run the linker `{command[0]}`: {error.strerror}") from error
    if done.returncode != 0:
        raise LinkError(f"the linker failed: {shlex.join(command)}\n{done.stderr.strip()}")
