"""Measuring: the profiling variant of the entry. Never a timing."""

from __future__ import annotations

import numpy as np

from stepwell.api import compiled_model
from stepwell.compilation import Compilation, Options
from stepwell.model import Model
from stepwell.source import as_source

NET = """\
model net(x: f32[N, 40]) -> f32[N, 3] {
    param w: f32[40, 30] = glorot_uniform
    param v: f32[30, 3] = glorot_uniform
    softmax(relu(x @ w) @ v)
}
"""


def _compiled(text: str, **options: bool) -> Model:
    return compiled_model(Compilation(as_source(text), Options(**options)), None, 0)


def test_the_profile_notes_the_time_of_each_call() -> None:
    model = _compiled(NET, profile=True)
    x = np.linspace(-1, 1, 200, dtype=np.float32).reshape(5, 40)
    call = model.native_call(x)
    seconds = call.profile()
    assert seconds.shape == (len(model.kernels),)
    assert len(seconds) > 1
    assert (seconds >= 0).all()
    np.testing.assert_array_equal(call.outputs[0], model(x))


def test_only_code_made_for_it_notes_times() -> None:
    assert b"clock_gettime" in _compiled(NET, profile=True).stage("obj")
    assert b"clock_gettime" not in _compiled(NET).stage("obj")
