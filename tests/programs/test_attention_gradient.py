"""The gradient of attention is one kernel, never has all scores, and gives what PyTorch gives."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import stepwell as sw
from stepwell.compilation import Compilation, Options
from stepwell.ir.target import named
from stepwell.lowering.strategies.attention import schedule_attention
from stepwell.lowering.strategies.attention_gradient import schedule_attention_gradient
from stepwell.source import as_source

Array = np.ndarray

SIGNATURE = "q: f64[N, H, T, D], k: f64[N, H, U, D], v: f64[N, H, U, E]"
INDEXED = """
    let score = [n, h, i, j] -> sum[d] q[n, h, i, d] * k[n, h, j, d]
    let p = softmax(score * 0.3)
    [n, h, i, e] -> sum[j] p[n, h, i, j] * v[n, h, j, e]
"""
OWN_SOFTMAX = """
    let score = q @ transpose(k, [0, 1, 3, 2]) * 0.3
    let e = exp(score - max(score, axis: -1, keep: true))
    (e / sum(e, axis: -1, keep: true)) @ v
"""
HEADS_LAST = """
    let score = einsum("nihd,njhd->nhij", transpose(q, [0, 2, 1, 3]), transpose(k, [0, 2, 1, 3]))
    einsum("nhij,njhe->nhie", softmax(0.3 * score), transpose(v, [0, 2, 1, 3]))
"""
CAUSAL = """
    let score = einsum("nhid,nhjd->nhij", q, k) * 0.3
    let seen = iota([T, U], axis: 1) <= iota([T, U], axis: 0)
    einsum("nhij,nhje->nhie", softmax(select(seen, score, -1e30)), v)
"""
LATE = CAUSAL.replace("iota([T, U], axis: 0)", "iota([T, U], axis: 0) + (U - T)")
SPELLINGS = {"indexed": INDEXED, "own softmax": OWN_SOFTMAX, "heads last": HEADS_LAST}
SPELLINGS |= {"causal": CAUSAL, "late queries": LATE}
SIZES = [(1, 1, 4, 9, 8, 8), (2, 3, 13, 13, 16, 16), (1, 2, 70, 99, 40, 24), (3, 1, 99, 65, 64, 64)]


def source(body: str, sizes: dict[str, int] | None = None, static: str = "") -> str:
    """The gradients of a loss by attention, spelled so, with sizes put in."""
    text = f"""
fn mixed({SIGNATURE}) -> f64[N, H, T, E] {{{body}}}
fn loss({SIGNATURE}, w: f64[N, H, T, E]) -> f64 {{ sum(w * mixed(q, k, v)) }}
model f({SIGNATURE}, w: f64[N, H, T, E]{static})
    -> (f64, f64[N, H, T, D], f64[N, H, U, D], f64[N, H, U, E]) {{
    value_and_grad(loss, wrt: [q, k, v])(q, k, v, w)
}}
"""
    for name, size in (sizes or {}).items():
        text = re.sub(rf"\b{name}\b", str(size), text)
    return text


def arrays(n: int, h: int, t: int, u: int, d: int, e: int) -> list[Array]:
    rng = np.random.default_rng(0)
    shapes = [(n, h, t, d), (n, h, u, d), (n, h, u, e), (n, h, t, e)]
    return [rng.standard_normal(shape) for shape in shapes]


def reference(given: list[Array], name: str) -> list[Array]:
    q, k, v = (torch.tensor(x, requires_grad=True) for x in given[:3])
    score = 0.3 * q @ k.transpose(-1, -2)
    if name in ("causal", "late queries"):
        late = 0 if name == "causal" else score.shape[-1] - score.shape[-2]
        hidden = torch.ones_like(score, dtype=torch.bool).triu(late + 1)
        score = score.masked_fill(hidden, -1e30)
    loss = (torch.softmax(score, -1) @ v * torch.tensor(given[3])).sum()
    loss.backward()
    return [loss.detach().numpy(), *(x.grad.numpy() for x in (q, k, v))]


@pytest.mark.parametrize("target", [None, "x86-64-v2"])
@pytest.mark.parametrize("name", SPELLINGS)
def test_gradients(name: str, target: str | None) -> None:
    model = sw.compile(source(SPELLINGS[name]), model="f", target_cpu=target)
    names = {kernel.name for kernel in model.kernels}
    assert names - {"sum"} == {"attention", "attention_gradient"}
    for sizes in SIZES:
        given = arrays(*sizes)
        for got, expected in zip(model(*given), reference(given, name), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["indexed", "late queries"])
@pytest.mark.parametrize("sizes", [{}, {"T": 512, "U": 512, "D": 64}, {"T": 67, "U": 45, "D": 24}])
def test_both_kernels_have_schedules(name: str, sizes: dict[str, int]) -> None:
    text = as_source(source(SPELLINGS[name], sizes))
    program = Compilation(text, Options("f")).naive_program
    kernels = {kernel.name: kernel for kernel in program.kernels}
    target = named("x86-64-v4")
    assert schedule_attention(kernels["attention"], target) is not None
    gradient = schedule_attention_gradient(kernels["attention_gradient"], target)
    assert gradient is not None


def test_known_sizes_with_one_thread_and_with_two() -> None:
    sizes = {"N": 3, "H": 2, "T": 70, "U": 90, "D": 40, "E": 24}
    one, two = (sw.compile(source(CAUSAL, sizes), model="f", threads=n) for n in (1, 2))
    given = arrays(*sizes.values())
    for a, b, expected in zip(one(*given), two(*given), reference(given, "causal"), strict=True):
        np.testing.assert_allclose(a, expected, rtol=1e-9, atol=1e-11)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_every_pass_keeps_the_gradient() -> None:
    sizes = {"N": 1, "H": 2, "T": 9, "U": 18, "D": 5, "E": 3}
    sw.compile(source(CAUSAL, sizes), model="f", check_each_pass=True)


def test_no_memory_grows_with_queries_times_keys() -> None:
    model = sw.compile(source(INDEXED), model="f")
    sizes = {"N": 1, "H": 8, "D": 64, "E": 64}
    small, large = (model.memory.at(T=t, U=t, **sizes).planned for t in (1024, 2048))
    assert large < 2.5 * small
    assert large < 8 * 2048 * 2048 * 8 / 4


def test_a_step_saves_nothing_of_that_size() -> None:
    trainer = sw.trainer("""
use nn
model mixed(x: f32[2, 512, 32]) -> f32[2, 512, 32] {
    nn.multi_head_attention(x, heads: 4, causal: true)
}
train mixed(x: f32[2, 512, 32]) {
    loss      = mean(square(mixed(x) - x))
    optimizer = sgd(lr: 0.1)
}
""")
    memory = trainer.memory.at()
    assert max(saved.bytes for saved in memory.saved) <= 2 * 512 * 32 * 4
    assert memory.planned < 2 * 4 * 512 * 512 * 4 / 2


def test_dropout_of_weights() -> None:
    body = INDEXED.replace("softmax(score * 0.3)", "dropout(softmax(score * 0.3), 0.3)")
    sizes = {"N": 1, "H": 2, "T": 13, "U": 18, "D": 8, "E": 8}
    text = source(body, sizes, ", training: bool = true")
    assert "attention_gradient" in {k.name for k in sw.compile(text, model="f").kernels}
    assert sw.gradcheck(text, model="f").ok


def test_weights_that_others_read_are_kept() -> None:
    body = INDEXED.replace("v[n, h, j, e]", "v[n, h, j, e] + mean(p * p)")
    names = {kernel.name for kernel in sw.compile(source(body), model="f").kernels}
    assert "attention_gradient" not in names


def test_the_gradient_has_a_gradient() -> None:
    sizes = {"N": 1, "H": 2, "T": 5, "U": 6, "D": 3, "E": 3}
    assert sw.gradcheck(source(CAUSAL, sizes), model="f").ok
