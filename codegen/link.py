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
from stepwell.ir.target import Target


class LinkError(StepwellError):
    """There is no linker, or it refused."""


def linker() -> list[str]:
    """The command that links: $CC, else `cc`, else `python -m ziglang cc`."""
    chosen = os.environ.get("CC", "").strip()
    if chosen:
        return shlex.split(chosen)
    for name in ("cc", "gcc", "clang"):
        found = shutil.which(name)
        if found:
            return [found]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise LinkError(
        "no linker: neither a C compiler (`cc`, or what $CC names) nor the PyPI package `ziglang` "
        "is installed; install a C compiler, or run `pip install 'stepwell[link]'`"
    )


def link_shared(objects: Sequence[Path], output: Path, target: Target, soname: str) -> None:
    """Links the objects into the shared object `output`, which is known to loaders as `soname`."""
    command = [*linker(), *_zig_target(target), "-shared", "-o", str(output)]
    if "darwin" in target.triple or "apple" in target.triple:
        command += [f"-Wl,-install_name,@rpath/{soname}"]
    else:
        command += [f"-Wl,-soname,{soname}", "-Wl,--as-needed", "-Wl,-z,noexecstack"]
        command += ["-Wl,-z,defs"]  # a call into a library other than libc is our bug: say so now
    # Few models call libc; that it is needed is said all the same, as loaders then order it right.
    libc = [] if "apple" in target.triple else ["-Wl,--no-as-needed", "-lc"]
    _run([*command, *map(str, objects), *libc])


def link_relocatable(objects: Sequence[Path], output: Path, target: Target) -> None:
    """Links the objects into one object file."""
    command = [*linker(), *_zig_target(target), "-r", "-nostdlib", "-o", str(output)]
    _run([*command, *map(str, objects)])


def _zig_target(target: Target) -> list[str]:
    """Zig links for any machine, if told which."""
    if "ziglang" not in linker():
        return []
    system = "macos" if "darwin" in target.triple or "apple" in target.triple else "linux-gnu"
    return ["-target", f"{target.architecture}-{system}"]


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LinkError(f"cannot run the linker `{command[0]}`: {error.strerror}") from error
    if done.returncode != 0:
        raise LinkError(f"the linker failed: {shlex.join(command)}\n{done.stderr.strip()}")
