"""`stepwell doctor`: what Stepwell finds on this machine."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from stepwell.cache import DiskCache
from stepwell.cli.cache import megabytes
from stepwell.version import stepwell_version

if TYPE_CHECKING:
    from stepwell.ir.target import Target

HELP = "print what Stepwell finds on this machine"
DESCRIPTION = """\
Print the processor and its vectors, caches, cores, the linker and versions: what a report of
a bug should contain. Exit code 1 if something that Stepwell needs is missing."""
EXAMPLE = "stepwell doctor"

_PACKAGES = ("llvmlite", "numpy", "lark", "ml_dtypes", "safetensors", "rich")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(args: argparse.Namespace) -> int:
    import llvmlite.binding as llvm

    from stepwell.ir.target import cpu_model, host

    target = host()
    cache = DiskCache.default()
    rows = [
        ("stepwell", stepwell_version()),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        *((name, _version(name)) for name in _PACKAGES),
        ("llvm", ".".join(map(str, llvm.llvm_version_info))),
        ("processor", f"{cpu_model()} ({target.cpu}, {target.triple})"),
        (
            "vectors",
            f"{target.vector_bits} bits, {target.vector_registers} registers{_fma(target)}",
        ),
        (
            "each cycle",
            f"multiply-adds {target.fma_ports} (of {target.fma_latency} cycles), "
            f"loads {target.loads}, stores {target.stores}",
        ),
        ("caches", _caches(target)),
        ("pages", _kib(target.page)),
        ("cores", f"{target.cores} usable of {os.cpu_count()}"),
        ("linker", _linker()),
        ("cache", f"{cache.folder}, {megabytes(sum(size for _, size, _ in cache.entries()))}"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:{width}}  {text}")
    return 0 if all(text != "missing" for _, text in rows) else 1


def _linker() -> str:
    from stepwell.codegen.link import LinkError, linker

    try:
        return " ".join(linker())
    except LinkError as error:
        return str(error)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _kib(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 and size % (1 << 20) == 0 else f"{size >> 10} KiB"


def _fma(target: Target) -> str:
    return ", fused multiply-add" if target.has_fma else ""


def _caches(target: Target) -> str:
    levels = [f"L1 {_kib(target.l1)}", f"L2 {_kib(target.l2)}"]
    if target.l3:
        levels.append(f"L3 {_kib(target.l3)} ({_kib(target.l3_share)} a core)")
    return f"{', '.join(levels)}, in lines of {target.line} bytes"
