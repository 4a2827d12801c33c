"""The two formats that functions are computed in, and what they may use of the machine.

In: nothing. Out: records that the rest of the package reads.

    F32.least_normal   →   2.0 ** -126
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MathTarget:
    """What the functions may use of the machine: `fma`, a fused multiply-add instruction, and
    `scalef`, AVX-512's scaling of vectors by powers of two."""

    fma: bool = True
    scalef: bool = False


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: its width, the bits of its fraction, its exponent's bias."""

    name: str
    width: int
    fraction: int
    bias: int

    @property
    def least_normal(self) -> float:
        return 2.0 ** (1 - self.bias)

    @property
    def rounder(self) -> float:
        """1.5 · 2^fraction: what is added to it is rounded to an integer, kept in its low bits."""
        return 1.5 * 2.0**self.fraction


F32 = Format("f32", 32, 23, 127)
F64 = Format("f64", 64, 52, 1023)
