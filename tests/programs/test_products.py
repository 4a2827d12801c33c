"""The gradient of products: of all other factors, zeros among them, in linear time."""

from __future__ import annotations

import numpy as np
import pytest

import stepwell as sw

SOURCE = """
    fn rows(x: f32[2, 5, 3]) -> f32[2] {{ {product} }}
    fn f(x: f32[2, 5, 3], w: f32[2]) -> f32 {{ sum(w * rows(x)) }}
    model slope(x: f32[2, 5, 3], w: f32[2]) -> f32[2, 5, 3] {{ grad(f)(x, w) }}"""


@pytest.mark.parametrize("zeros", [0, 1, 2])
@pytest.mark.parametrize(
    "product", ["prod(prod(x, axis: 1), axis: 1)", "[i] -> prod[j, k] x[i, j, k]"]
)
def test_each_element_gets_the_product_of_the_others(product: str, zeros: int) -> None:
    rng = np.random.default_rng(zeros)
    x, w = rng.uniform(0.5, 1.5, (2, 15)).astype("f"), rng.normal(size=2).astype("f")
    x[:, [3, 11][:zeros]] = 0
    others = [[np.prod(np.delete(row, i)) for i in range(15)] for row in x.astype("d")]
    model = sw.compile(SOURCE.format(product=product))
    found = model(x.reshape(2, 5, 3), w).reshape(2, 15)
    np.testing.assert_allclose(found, w[:, None] * others, rtol=1e-5)
    assert (found == 0).sum() == 2 * [0, 14, 15][zeros]


def test_it_takes_a_step_for_each_element() -> None:
    model = sw.compile("""
        fn f(x: f32[N, 300]) -> f32 { sum(prod(x, axis: 1)) }
        model slope(x: f32[N, 300]) -> f32[N, 300] { grad(f)(x) }""")
    text = str(model.stage("loops-opt", "prod"))
    assert text.count("in 0..300 {") == 1
