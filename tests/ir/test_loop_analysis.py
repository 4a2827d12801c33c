"""Substitution, renaming and the questions that transformations of loops ask."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from loop_kernels import kernels

from stepwell.ir.loop import analysis, format_kernel, parse_kernel
from stepwell.ir.loop.core import Block, For, Kernel, Let, Statement, Store, statements
from stepwell.ir.loop.printer import format_block
from stepwell.ir.scalar import Load, Var, from_dim, index
from stepwell.ir.size import symbol

TEXT = """
kernel k[N, K](x: f32[N, K] in, y: f32[N] out) reduction {
  for i in 0..N {
    alloc acc: f32[4] register
    alloc row: f32[K] scratch
    for j in 0..K - i {
      let t: f32 = x[i, j + i | j < K]
      row[j] = t
      if t < 0.0 { y[i] = row[j] } else { y[i] = hsum(acc) }
    }
  }
}
"""
KERNEL = parse_kernel(TEXT)
BODY = KERNEL.body


def test_questions() -> None:
    assert [load.buffer for load in analysis.loads_of(BODY)] == ["x", "row"]
    assert [store.buffer for store in analysis.stores_of(BODY)] == ["row", "y", "y"]
    assert analysis.reads(BODY) == {"x", "row", "acc"}
    assert analysis.writes(BODY) == {"row", "y"}
    assert analysis.index_names(BODY) == ["i", "j"]
    assert analysis.let_names(BODY) == ["t"]
    assert analysis.bound_names(BODY) == ["i", "acc", "row", "j", "t"]
    assert analysis.taken_names(KERNEL) == {"N", "K", "x", "y", "i", "acc", "row", "j", "t"}
    assert analysis.register_names(KERNEL) == {"acc"}
    assert analysis.variables_of(BODY) == {"N", "K", "i", "j", "t"}
    assert list(analysis.kernel_buffers(KERNEL)) == ["x", "y", "acc", "row"]


def test_variables_are_those_of_extents_and_shapes_too() -> None:
    outer = BODY[0]
    assert isinstance(outer, For)
    assert "i" in analysis.variables_of((outer.body[2],))
    assert "K" in analysis.variables_of((outer.body[1],))
    assert "i" not in analysis.variables_of((outer.body[1],))


def test_fresh_names_are_taken_at_once() -> None:
    taken = {"i", "i_1"}
    assert [analysis.fresh_name(taken, name) for name in ("i", "i", "j")] == ["i_2", "i_3", "j"]
    assert taken == {"i", "i_1", "i_2", "i_3", "j"}


def _inner() -> Block:
    outer = BODY[0]
    assert isinstance(outer, For)
    return outer.body


def test_substitution_reaches_extents_guards_and_subscripts() -> None:
    changed = analysis.substitute_block(_inner(), {"i": from_dim(2 * symbol("o") + 1)})
    text = format_block(changed)
    assert "for j in 0..K - 2*o - 1 {" in text
    assert "x[2 * o + 1, j + (2 * o + 1) | j < K]" in text
    assert "y[2 * o + 1] = hsum(acc)" in text


def test_substitution_of_what_is_no_dim() -> None:
    with pytest.raises(ValueError, match="K - i is not over sizes"):
        analysis.substitute_block(_inner(), {"i": Load("ids", (), index(0).dtype)})


def test_what_does_not_change_is_the_same_object() -> None:
    assert analysis.substitute_block(BODY, {"z": index(0)}) is BODY
    assert analysis.rename_buffers(BODY, {"z": "w"}) is BODY
    assert analysis.rename_variables(BODY, {"z": "w"}) is BODY
    assert analysis.map_expressions(BODY, lambda expr: expr) is BODY
    assert analysis.map_statements(BODY, lambda statement: statement) is BODY


def test_renaming_buffers() -> None:
    text = format_block(analysis.rename_buffers(BODY, {"acc": "sum", "row": "r", "x": "a"}))
    for line in ("alloc sum: f32[4] register", "y[i] = hsum(sum)", "r[j] = t", "y[i] = r[j]"):
        assert line in text
    assert "let t: f32 = a[i, j + i | j < K]" in text


def test_a_statement_may_become_several_or_none() -> None:
    def double(statement: Statement) -> Statement | Block:
        if isinstance(statement, Store) and statement.buffer == "y":
            return (statement, statement)
        return () if isinstance(statement, Let) else statement

    changed = analysis.map_statements(BODY, double)
    assert len(analysis.stores_of(changed)) == 5
    assert not analysis.let_names(changed)


def test_a_fresh_copy_shares_no_name() -> None:
    taken = analysis.taken_names(KERNEL)
    copy = analysis.fresh_copy(BODY, taken)
    assert analysis.bound_names(copy) == ["i_1", "acc_1", "row_1", "j_1", "t_1"]
    assert set(analysis.bound_names(copy)) <= taken
    assert "y[i_1] = row_1[j_1]" in format_block(copy)


def test_canonical_kernels_of_one_meaning_are_equal() -> None:
    other = parse_kernel(
        """kernel other[rows, M](image: f32[rows, M] in, z: f32[rows] out) reduction {
        ops sum
        for a in 0..rows {
          alloc acc2: f32[4] register alloc r: f32[M] scratch
          for b in 0..M - a {
            let u: f32 = image[a, b + a | b < M]
            r[b] = u
            if u < 0.0 { z[a] = r[b] } else { z[a] = hsum(acc2) }
          } } }"""
    )
    assert analysis.canonical(KERNEL) == analysis.canonical(other)
    assert hash(analysis.canonical(KERNEL)) == hash(analysis.canonical(other))


@settings(max_examples=60, deadline=None)
@given(kernels())
def test_canonical_is_idempotent(kernel: Kernel) -> None:
    once = analysis.canonical(kernel)
    assert analysis.canonical(once) == once
    assert parse_kernel(format_kernel(once)) == once
    assert len(list(statements(once.body))) == len(list(statements(kernel.body)))


@settings(max_examples=60, deadline=None)
@given(kernels())
def test_renaming_back_gives_the_kernel(kernel: Kernel) -> None:
    names = {name: f"{name}_new" for name in analysis.bound_names(kernel.body)}
    back = {new: old for old, new in names.items()}
    body = analysis.rename_variables(analysis.rename_buffers(kernel.body, names), names)
    assert analysis.rename_variables(analysis.rename_buffers(body, back), back) == kernel.body
    assert not {Var(name) for name in names} & set(analysis.expressions_of(body))
