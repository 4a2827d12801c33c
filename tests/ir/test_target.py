"""Targets: what strategies read of a machine."""

from __future__ import annotations

from functools import cache

import pytest

from stepwell.ir.dtypes import F16, F32, F64
from stepwell.ir.target import NAMES, UnknownTarget, host, named


@pytest.mark.parametrize("name", NAMES)
def test_every_target_is_whole(name: str) -> None:
    target = named(name)
    assert target.vector_bits in (128, 256, 512)
    assert target.vector_registers in (16, 32)
    assert target.lanes(F32) == target.lanes(F16) == 2 * target.lanes(F64)
    assert target.fma_latency in range(2, 8) and target.fma_ports in range(1, 5)
    assert target.loads >= target.stores >= 1
    assert target.l1 < target.l2
    assert 0 <= target.l3_share <= target.l3
    assert target.page % target.line == 0
    assert 1 <= target.cores == host().cores


def test_levels_of_x86() -> None:
    found = [named(name) for name in ("x86-64-v2", "x86-64-v3", "x86-64-v4")]
    assert [t.vector_bits for t in found] == [128, 256, 512]
    assert [t.vector_registers for t in found] == [16, 16, 32]
    assert [t.has_fma for t in found] == [False, True, True]


def test_a_wide_vector_may_go_through_in_halves() -> None:
    assert named("znver4").fma_ports == 1
    assert named("znver5").fma_ports == 2


def test_other_architectures() -> None:
    for name in ("neoverse-v2", "riscv64"):
        assert named(name).vector_registers == 32 and named(name).has_fma


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UnknownTarget, match="x86-64-v3"):
        named("pentium")


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3"])
def test_the_environment_says_what_native_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = host()
    monkeypatch.setenv("STEPWELL_TARGET_CPU", name)
    monkeypatch.setattr("stepwell.ir.target.host", cache(host.__wrapped__))
    native = named("native")
    assert native.features == named(name).features
    assert (native.l1, native.l2, native.l3) == (real.l1, real.l2, real.l3)
