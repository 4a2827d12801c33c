"""What a core can do per cycle, as far as it decides a schedule: no system says so at run time.

In: LLVM's name of a CPU, and the width of its vectors. Out: `Pipes`.

    pipes_of("znver5", 512)    →   Pipes(fma_latency=4, fma_ports=2, loads=2, stores=1)
    pipes_of("unknown", 256)   →   what most cores of the last ten years have

The numbers are those of the vendors' optimisation guides and of uops.info; they count instructions
on whole vectors, so that where a wide vector goes through in two halves, half as many are counted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pipes:
    """Cycles from a multiply-add to one that needs its result; multiply-adds, loads and stores of
    whole vectors begun per cycle."""

    fma_latency: int
    fma_ports: int
    loads: int
    stores: int


_USUAL = Pipes(4, 2, 2, 1)
_CORES = {
    "haswell": Pipes(5, 2, 2, 1),
    "broadwell": Pipes(5, 2, 2, 1),
    "znver1": Pipes(5, 1, 1, 1),  # 256 bits in two halves
    "znver2": Pipes(5, 2, 2, 1),
    "znver3": Pipes(4, 2, 2, 1),
    "znver4": Pipes(4, 2, 2, 1),
    "alderlake": Pipes(4, 2, 3, 2),
    "raptorlake": Pipes(4, 2, 3, 2),
    "neoverse-n1": Pipes(4, 2, 2, 1),
    "neoverse-v1": Pipes(4, 4, 3, 2),
    "neoverse-v2": Pipes(4, 4, 3, 2),
    "apple-m1": Pipes(4, 4, 3, 2),
    "apple-m2": Pipes(4, 4, 3, 2),
}
# Cores whose 512-bit vectors go through in two halves, or that have one port for them.
_NARROW = {"znver4": Pipes(4, 1, 1, 1), "cannonlake": Pipes(4, 1, 2, 1)}


def pipes_of(cpu: str, vector_bits: int) -> Pipes:
    """The pipes of LLVM's `cpu` for vectors of this width."""
    if vector_bits == 512 and cpu in _NARROW:
        return _NARROW[cpu]
    return _CORES.get(cpu, _USUAL)
