"""NAME_prepare: what it makes of parameters, what it refuses; NAME_run knows its weights."""

from __future__ import annotations

import subprocess

import numpy as np
from loop_build import prepared, sh, workspace

from stepwell.codegen import interface
from stepwell.codegen.jit import NativeProgram
from stepwell.codegen.objects import build
from stepwell.ir.loop.interpreter import interpret_program
from stepwell.ir.loop.parser import parse_loops
from stepwell.ir.loop.verifier import verify_loops
from stepwell.ir.target import host

# `t` lies in the preparations' workspace; `w` is packed only, `b` is read as it is, too.
TEXT = """
program net[N] {
  input x: f32[N, 3]
  parameter w: f32[3]
  parameter b: f32[3]
  parameter unused: f32[5]
  constant c: f32[3] = [1.0, 2.0, 3.0]
  prepared t: f32[3] at 0
  prepared w.turned: f32[3]
  output y: f32[N, 3]
  workspace 0
  prepare_workspace 128

  prepare turn(w, c, t) scratch 64
  prepare turn(t, b, w.turned) scratch 64
  call scale[N](x, w.turned, b, y)
}

kernel turn(w: f32[3] const, c: f32[3] const, v: f32[3] out) pack {
  alloc s: f32[3] scratch
  for i in 0..3 { s[i] = w[2 - i] + c[i] }
  for j in 0..3 { v[j] = s[j] }
}

kernel scale[N](x: f32[N, 3] in, u: f32[3] const, b: f32[3] const, y: f32[N, 3] out) pointwise {
  for i in 0..N { for j in 0..3 { y[i, j] = x[i, j] * u[j] + b[j] } }
}
"""
W, B = np.float32([10, 20, 30]), np.float32([0.5, 0.25, 0.125])
X = np.float32([[1, 1, 1], [2, 3, 4]])
ARRAYS = {"w": W, "b": B, "unused": np.zeros(5, np.float32)}


def _program(text: str = TEXT):
    program = parse_loops(text)
    verify_loops(program)
    return program


def _run(native: NativeProgram, weights: np.ndarray) -> np.ndarray | str:
    y = np.zeros_like(X)
    status = native.run([2], [X.ctypes.data], [y.ctypes.data], weights.ctypes.data, 0)
    return native.error_message(status) if status else y


def test_weights_are_what_runs_read():
    program = _program()
    offsets, size = interface.weight_layout(program)
    assert offsets == {"b": 64, "w.turned": 128}
    assert size == 192
    native = NativeProgram.compile(program, host())
    weights = prepared(native, program, ARRAYS)
    expected = interpret_program(program, {"x": X}, ARRAYS)["y"]
    np.testing.assert_array_equal(_run(native, weights), expected)
    np.testing.assert_array_equal(weights[64:76].view(np.float32), B)


def test_weights_can_be_prepared_apart():
    """For an object for another machine: what is made depends on the program only."""
    program = _program()
    here = prepared(NativeProgram.compile(program, host()), program, ARRAYS)
    alone = prepared(NativeProgram.preparing(program), program, ARRAYS)
    np.testing.assert_array_equal(here, alone)


def test_refusals():
    program = _program()
    native = NativeProgram.compile(program, host())
    memory, room = workspace(192), workspace(128)
    places = [ARRAYS[name].ctypes.data for name in ("w", "b", "unused")]

    def message(parameters=places, weights=memory.ctypes.data, scratch=room.ctypes.data):
        return native.error_message(native.prepare(parameters, weights, scratch))

    assert message() == "ok"
    assert message(parameters=[0, *places[1:]]) == "a pointer is null"
    assert message(weights=0) == message(scratch=0) == "a pointer is null"
    assert "not aligned" in message(weights=memory.ctypes.data + 4)
    assert "not aligned" in message(scratch=room.ctypes.data + 4)


def test_parameters_may_lie_anywhere():
    """Files align tensors to their elements at best."""
    program = _program()
    native = NativeProgram.compile(program, host())
    shifted = {}
    for name, array in ARRAYS.items():
        room = workspace(array.nbytes + 4)[4:].view(np.float32)
        room[:] = array
        shifted[name] = room
    expected = prepared(native, program, ARRAYS)
    np.testing.assert_array_equal(prepared(native, program, shifted), expected)


def test_other_weights_are_refused():
    """Of the same size, made for a program that packs otherwise, or raw."""
    program = _program()
    other = _program(TEXT.replace("w[2 - i] + c[i]", "w[2 - i] - c[i]"))
    native = NativeProgram.compile(program, host())
    theirs = prepared(NativeProgram.preparing(other), other, ARRAYS)
    assert "not prepared for this model" in _run(native, theirs)
    theirs[:] = 0
    assert "not prepared for this model" in _run(native, theirs)


CALLER = """
#include <stdlib.h>
#include <stdio.h>
#include "net.h"

int main(void) {
    const float w[3] = {10, 20, 30}, b[3] = {0.5f, 0.25f, 0.125f}, unused[5] = {0};
    const float x[6] = {1, 1, 1, 2, 3, 4};
    const void *parameters[3] = {w, b, unused};
    void *weights = aligned_alloc(64, (size_t)net_weights_size());
    void *workspace = aligned_alloc(64, (size_t)net_prepare_workspace_size());
    float y[6];
    int i;
    if (net_prepare(parameters, weights, workspace) != 0) return 1;
    free(workspace);
    if (net_run(2, x, y, weights, NULL, NULL) != 0) return 2;
    for (i = 0; i < 6; i++) printf("%g ", (double)y[i]);
    free(weights);
    return 0;
}
"""


def test_a_c_program_prepares(tmp_path):
    program = _program()
    weights = prepared(NativeProgram.preparing(program), program, ARRAYS)
    made = build([program], host(), tmp_path / "net.o", {"net": weights})
    header = (tmp_path / "net.h").read_text()
    assert "       0  w: f32[3]\n" in header and "         128  w.turned: f32[3] */\n" in header
    (tmp_path / "caller.c").write_text(CALLER)
    sh("cc", "-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "caller.c", "net.o",
       "-o", "caller", cwd=tmp_path)  # fmt: skip
    out = subprocess.run(["./caller"], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = interpret_program(program, {"x": X}, ARRAYS)["y"]
    assert [float(word) for word in out.stdout.split()] == expected.reshape(-1).tolist()
    assert (tmp_path / "net.weights").read_bytes() == weights.tobytes()
    assert len(made) == 4
