"""A tuned program computes what the default one does, with other choices of every kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepwell as sw
from stepwell.compilation import Compilation
from stepwell.ir.loop.core import Kernel
from stepwell.ir.target import Target, host, named
from stepwell.lowering.knobs import KNOBS, Offer, offers, tuned
from stepwell.lowering.schedule import schedule_kernel
from stepwell.lowering.tuning import kernel_key, target_key
from stepwell.source import as_source
from stepwell.tuning.climb import nearest_first

QKV = "q: f32[2, 60, 16], k: f32[2, 60, 16], v: f32[2, 60, 16]"
ATTENTION = f"""fn mixed({QKV}) -> f32[2, 60, 16] {{
    let s = einsum("hid,hjd->hij", q, k)
    let seen = iota([60, 60], axis: 1) <= iota([60, 60], axis: 0)
    einsum("hij,hje->hie", softmax(select(seen, s, -1e30)), v)
}}
fn loss({QKV}) -> f32 {{ sum(mixed(q, k, v) * v) }}
"""
SOURCES = {
    "product": """use nn
        model product(x: f32[70, 200]) -> f32[70, 90] { relu(nn.dense(x, units: 90)) }""",
    "two": "model two(a: f32[50, 60], b: f32[60, 70]) -> f32[50, 70] { a @ b }",
    "row": "model row(x: f32[1, 300], w: f32[300, 200]) -> f32[1, 200] { x @ w }",
    "dots": """
        model dots(x: f32[1, 300], w: f32[50, 300]) -> f32[1, 50] { x @ transpose(w, [1, 0]) }""",
    "deep": "model deep(a: f32[8, 70000], b: f32[70000, 16]) -> f32[8, 16] { a @ b }",
    "total": "model total(x: f32[300000]) -> f32 { sum(x) }",
    "softmax": "model soft(x: f32[40, 300]) -> f32[40, 300] { softmax(x) }",
    "columns": "model columns(x: f32[50, 300]) -> f32[300] { sum(x, axis: 0) }",
    "rows": "model rows(x: f32[4096, 1024]) -> f32[4096, 1024] { softmax(x) }",
    "convolution": """use nn
        model c(x: f32[1, 32, 14, 14]) -> f32[1, 32, 14, 14] {
            nn.conv2d(x, channels: 32, kernel: 3, padding: 1)
        }""",
    "depthwise": """use nn
        model d(x: f32[1, 20, 37, 37]) -> f32[1, 20, 37, 37] {
            nn.conv2d(x, channels: 20, kernel: 3, padding: 1, groups: 20)
        }""",
    "attention": f"{ATTENTION} model attention({QKV}) -> f32[2, 60, 16] {{ mixed(q, k, v) }}",
    "attention_gradient": f"""{ATTENTION}
        model slopes({QKV}) -> (f32[2, 60, 16], f32[2, 60, 16], f32[2, 60, 16]) {{
            grad(loss, wrt: [q, k, v])(q, k, v)
        }}""",
    "correlation": """
        fn loss(x: f32[4, 16, 12, 12], w: f32[24, 16, 3, 3]) -> f32 {
            let y = conv(x, w, padding: [1, 1])
            sum(y * y)
        }
        model slope(x: f32[4, 16, 12, 12], w: f32[24, 16, 3, 3]) -> f32[24, 16, 3, 3] {
            grad(loss, wrt: w)(x, w)
        }""",
}  # fmt: skip


@cache
def _kernels(name: str) -> tuple[Kernel, ...]:
    return Compilation(as_source(SOURCES[name])).naive_program.kernels


def _others(kernel: Kernel, target: Target) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each knob of the kernel, the choice that differs most from the analytic one; for a knob
    that comes up with another choice only, with that."""
    found = {each.name: ({}, each) for each in _offers(kernel, target, {})}
    for name, value in (("winograd", 0), ("winograd", 2), ("direct", False)):
        before = {"winograd": 0, name: value} if "winograd" in found else {name: value}
        for each in _offers(kernel, target, before):
            found.setdefault(each.name, (before, each))
    for name, (before, offer) in found.items():
        for value in nearest_first(offer, before)[-1:]:
            yield name, {**before, name: value}


def _offers(kernel: Kernel, target: Target, fields: dict[str, Any]) -> list[Offer]:
    with tuned(fields):
        return offers(lambda: schedule_kernel(kernel, target))


@pytest.mark.parametrize("name", SOURCES)
def test_other_choices_give_the_same(name: str, tmp_path: Path) -> None:
    model = sw.compile(SOURCES[name], tuning="")
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(item.type.shape).astype("f") for item in model.signature.inputs]
    expected = model(*inputs)
    size = max(float(np.abs(each).max()) for each in _all(expected))
    kernels = _kernels(name)
    choices = {knob: (each, fields) for each in kernels for knob, fields in _others(each, host())}
    for knob, (kernel, fields) in choices.items():
        path = tmp_path / "t.jsonl"
        record = {"target": target_key(host()), "kernel": kernel_key(kernel), "knobs": fields}
        path.write_text(json.dumps(record))
        out = sw.compile(SOURCES[name], tuning=path, cache=False)(*inputs)
        for a, b in zip(_all(expected), _all(out), strict=True):
            np.testing.assert_allclose(a, b, 1e-3, 1e-4 * size, err_msg=f"{knob}: {fields}")


def _all(outputs: Any) -> tuple[Any, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def test_every_knob_is_a_choice_of_some_kernel() -> None:
    machine = named("x86-64-v4")  # of more than one width of vectors
    kernels = [kernel for name in SOURCES for kernel in _kernels(name)]
    found = {knob for kernel in kernels for knob, _ in _others(kernel, machine)}
    assert found == set(KNOBS)
