"""The machine that code is made for: what strategies and code generation may count on.

    host()               this machine: LLVM's CPU and features, cache sizes, usable cores
    named("x86-64-v3")   a machine by name, for `--target-cpu`
    host().vector_bits   →   512 where AVX-512 is there, 256 with AVX2, else 128

The detection reads LLVM, /sys and /proc, and falls back to cautious numbers where these are silent.
What no system tells, such as the latency of a multiply-add, is in `microarchitecture.py`.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

from stepwell.ir.diagnostics import InputError
from stepwell.ir.dtypes import DType
from stepwell.ir.microarchitecture import pipes_of


@dataclass(frozen=True)
class Target:
    """A machine. Sizes are in bytes; `features` is LLVM's comma-separated string."""

    name: str
    triple: str
    cpu: str
    features: str
    vector_bits: int
    vector_registers: int
    has_fma: bool
    has_f16c: bool  # conversions between f16 and f32 in hardware
    fma_latency: int  # cycles from a multiply-add to one that needs its result
    fma_ports: int  # multiply-adds of whole vectors begun per cycle
    loads: int  # whole vectors loaded per cycle, from the first cache
    stores: int  # whole vectors stored per cycle
    l1: int
    l2: int
    l3: int  # 0 where there is none
    l3_share: int  # a core's part of the third cache, when all are at work
    line: int
    page: int
    cores: int

    @property
    def architecture(self) -> str:
        """`x86_64`, `aarch64`, or another first part of the triple."""
        return self.triple.split("-")[0]

    @property
    def carries_nan(self) -> bool:
        """Whether one instruction is a maximum that is NaN where an operand is."""
        return self.architecture == "aarch64"

    def lanes(self, dtype: DType) -> int:
        """How many numbers of `dtype` a vector register holds while computing."""
        return max(1, self.vector_bits // (8 * dtype.compute.bytes))

    def has(self, feature: str) -> bool:
        return f"+{feature}" in self.features.split(",")


class UnknownTarget(InputError):
    """No target has this name."""


_V1 = ("64bit", "cmov", "cx8", "fxsr", "mmx", "sse", "sse2", "x87")
_V2 = (*_V1, "cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3", "crc32")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_LEVELS = {"x86-64": _V1, "x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4}
_CPUS = {
    **dict.fromkeys(("haswell", "broadwell", "skylake", "znver1", "znver2", "znver3"), "x86-64-v3"),
    **dict.fromkeys(("skylake-avx512", "icelake-server", "sapphirerapids"), "x86-64-v4"),
    **dict.fromkeys(("znver4", "znver5"), "x86-64-v4"),
}
_ARM = ("aarch64", "neoverse-n1", "neoverse-v1", "neoverse-v2")
# The vector extension with registers of 128 bits, which code for it may count on.
_RISCV = ("64bit", "m", "a", "f", "d", "c", "v", "zvl128b", "zba", "zbb", "zbs")
NAMES = ("native", *_LEVELS, *_CPUS, *_ARM, "riscv64")

_CACHES = (32 << 10, 512 << 10, 8 << 20, 2 << 20)  # cautious: a machine known only by name
_PAGE = 4096


@cache
def host() -> Target:
    """This machine; with STEPWELL_TARGET_CPU, as if it had that CPU's instructions and no more.
    Raises UnknownTarget where that names none."""
    asked = os.environ.get("STEPWELL_TARGET_CPU", "native")
    made = _this_cpu() if asked == "native" else named(asked)
    l1, l2, l3, share = _cache_sizes()
    page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else _PAGE
    return replace(made, l1=l1, l2=l2, l3=l3, l3_share=share, line=_line_size(), page=page)


def _this_cpu() -> Target:
    triple = str(llvm.get_process_triple())
    available = llvm.get_host_cpu_features()
    # LLVM's AMX and AVX10 spellings change between versions and nothing here uses them.
    on = [f for f, yes in available.items() if yes and not f.startswith(("amx", "avx10"))]
    return _target("native", triple, str(llvm.get_host_cpu_name()), tuple(sorted(on)))


def named(name: str) -> Target:
    """The target called `name`, one of `NAMES`; raises UnknownTarget with the names."""
    if name == "native":
        return host()
    system = "-".join(str(llvm.get_default_triple()).split("-")[1:]) or "unknown-linux-gnu"
    if name in _ARM:
        cpu = "generic" if name == "aarch64" else name
        triple = f"aarch64-{system}"
        features: tuple[str, ...] = ("neon", "fp-armv8")
    elif name in _LEVELS or name in _CPUS:
        cpu, triple = name, f"x86_64-{system}"
        features = _LEVELS[name if name in _LEVELS else _CPUS[name]]
    elif name == "riscv64":
        cpu, triple, features = "generic-rv64", f"riscv64-{system}", _RISCV
    else:
        raise UnknownTarget(f"no target is called {name!r}; there are {', '.join(NAMES)}")
    return _target(name, triple, cpu, features)


def _target(name: str, triple: str, cpu: str, features: tuple[str, ...]) -> Target:
    """A machine with these instructions, and memory as cautiously guessed."""
    x86 = triple.startswith("x86_64")
    wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(features)
    bits = 512 if wide else 256 if "avx2" in features else 128
    pipes = pipes_of(cpu, bits)
    l1, l2, l3, l3_share = _CACHES
    return Target(
        name=name,
        triple=triple,
        cpu=cpu,
        features=",".join(f"+{feature}" for feature in features),
        vector_bits=bits,
        vector_registers=32 if wide or not x86 else 16,
        has_fma=not x86 or "fma" in features,
        has_f16c=triple.startswith(("aarch64", "arm64")) or "f16c" in features,
        fma_latency=pipes.fma_latency,
        fma_ports=pipes.fma_ports,
        loads=pipes.loads,
        stores=pipes.stores,
        l1=l1,
        l2=l2,
        l3=l3,
        l3_share=l3_share,
        line=64,
        page=_PAGE,
        cores=available_cores(),
    )


def available_cores() -> int:
    """Cores this process may use: the affinity mask, and the control group's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and int(quota[1]) > 0:
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return cores


def cpu_model() -> str:
    """The CPU's name for people, from /proc/cpuinfo; else what Python knows."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _cache_sizes() -> tuple[int, int, int, int]:
    """Bytes of the data caches of levels 1, 2 and 3, and of a core's share of the last."""
    sizes: dict[int, int] = {}
    sharers = 1
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind = _read(folder / "level").strip(), _read(folder / "type").strip()
        size = _read(folder / "size").strip()
        if kind in ("Data", "Unified") and level.isdigit() and size[:-1].isdigit():
            unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1], 1)
            sizes[int(level)] = int(size[:-1]) * unit
            if level == "3":
                sharers = _listed(_read(folder / "shared_cpu_list"))
    if not sizes:
        return _CACHES
    l3 = sizes.get(3, 0)
    return sizes.get(1, _CACHES[0]), sizes.get(2, _CACHES[1]), l3, l3 // sharers


def _listed(text: str) -> int:
    """How many numbers a list such as `0-7,16-23` holds; at least 1."""
    ranges = [part.partition("-") for part in text.strip().split(",") if part]
    return max(1, sum(int(last or first) - int(first) + 1 for first, _, last in ranges))


def _line_size() -> int:
    text = _read("/sys/devices/system/cpu/cpu0/cache/index0/coherency_line_size").strip()
    return int(text) if text.isdigit() and int(text) else 64
