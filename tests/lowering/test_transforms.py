"""Transformations refuse what is not legal, with a sentence that says why."""

from __future__ import annotations

import pytest

from stepwell.ir.diagnostics import PassError
from stepwell.ir.loop import parse_kernel
from stepwell.ir.loop.analysis import stores_of
from stepwell.ir.loop.core import Kernel, Program
from stepwell.ir.passes import parse_pipeline, run_pipeline
from stepwell.ir.scalar import Load, from_dim
from stepwell.lowering import passes  # noqa: F401  registers them
from stepwell.lowering.transforms.pack import pack
from stepwell.lowering.transforms.reassociate import reassociate
from stepwell.lowering.transforms.reorder import reorder
from stepwell.lowering.transforms.skip import skip
from stepwell.lowering.transforms.stage import stage

KERNEL = """
kernel k[N](x: f32[N, 6] in, y: f32[N] out) reduction {
  for i in 0..N {
    alloc acc: f32 register
    acc[] = 0.0
    for j in 0..6 {
      acc[] = acc[] * 2.0 + x[i, j]
    }
    y[i] = acc[]
  }
}
"""
REFUSED = {
    "split{loop=z,by=4}": "no loop over z",
    "split{loop=i,by=0}": "by=1 or more",
    "split{loop=i,by=4,tail=odd}": "tail=guard, bound or peel",
    "cut{loop=j,at=7}": "fewer than 7 iterations",
    "interchange{loop=i}": "not perfectly nested",
    "fuse_loops{loop=i}": "not perfectly nested",
    "unroll_and_jam{loop=i}": "extent of i is not constant",
    "split_reduction{loop=j,by=2}": "not a plain reduction",
    "block_reduction{loop=j,by=2,outer=i}": "not one plain reduction",
    "vectorize_reduction{loop=j}": "not a plain reduction",
    "vectorize_reduction{loop=j,lanes=3}": "power of two",
    "localize{loop=j,buffer=z}": "z is not a register",
    "unroll{loop=i}": "unroll would break a rule",
}


@pytest.mark.parametrize("pipeline", REFUSED)
def test_refused(pipeline: str) -> None:
    with pytest.raises(PassError, match=REFUSED[pipeline]):
        run_pipeline(parse_kernel(KERNEL), parse_pipeline(pipeline))


def kernel(body: str) -> Kernel:
    """A kernel of few arrays."""
    arrays = "x: f32[4, 8] in, z: f32[4] in, y: f32[9] inout, w: f32[9] inout"
    return parse_kernel(f"kernel k[N]({arrays}) pointwise {{ {body} }}")


ROW_SUMS = """for i in 0..4 { alloc a: f32 register
    %s
    a[] = %s
    for k in 0..8 { a[] = a[] + x[i, k]%s }
    w[i] = a[] }"""
KEPT = "for i in 0..4 { alloc a: f32 register\n a[] = z[i] for k in 0..%s { a[] = a[] + x[i, k] } }"
# Each is legal in form; what it would change is the answer, or memory that is not its own.
ILLEGAL = [
    ("interchange{loop=i}", "for i in 0..3 { for j in 0..3 { y[2*i + j] = f32(i) } }", "mixes the"),
    (
        "interchange{loop=i}",
        "for i in 0..3 { for j in 0..3 { y[i + 1] = y[j] } }",
        "y is read and stored by different iterations",
    ),
    (
        "interchange{loop=i}",
        "for i in 0..4 { for j in 0..i { y[j] = z[i] } }",
        "extent of j depend",
    ),
    (
        "fuse_loops{loop=i}",
        "for i in 0..4 { for j in 0..i { y[j] = z[i] } }",
        "extent of j depends",
    ),
    (
        "unroll_and_jam{loop=i}",
        "for i in 0..4 { for j in 0..4 { y[j] = y[j] * 0.5 + x[i, j] } }",
        "iterations of the loop over i depend on each other",
    ),
    (
        "vectorize{loop=i}",
        "alloc a: f32 register\n a[] = 0.0 for i in 0..4 { a[] = a[] + z[i] y[i] = a[] }",
        "a carries a value from one iteration to the next",
    ),
    (
        "vectorize{loop=i}",
        "for i in 0..4 { w[i64(z[i]) % 9] = 1.0 }",
        "w is stored where data says",
    ),
    ("vectorize{loop=i}", "for i in 0..4 { prefetch x[i, 0] w[i] = z[i] }", "holds no prefetch"),
    ("vectorize{loop=i}", "for i in 0..4 { for k in 0..i { w[i] = x[i, k] } }", "k depends on i"),
    (
        "vectorize{loop=i}",
        "for i in 0..4 { alloc t: f32[2] scratch\n t[0] = z[i] w[i] = t[0] }",
        "scratch t is inside the loop",
    ),
    (
        "vectorize{loop=i}",
        "for i in 0..4 { if i > 2 { for k in 0..8 { w[i] = x[i, k] } } else { w[i] = 2.0 } }",
        "a branch with two sides depends on the loop",
    ),
    (
        "vectorize{loop=i}",
        """for i in 0..4 { alloc a: f32[8] register
           for l in 0..8 vector { a[l] = x[i, l] } w[i] = hsum(a) }""",
        "a already has its lanes",
    ),
    # sums that are not the loop's alone
    ("vectorize_reduction{loop=k}", "SUM a[] = a[] + x[0, k]  b[] = b[] + a[]", "not a plain"),
    ("split_reduction{loop=k,by=2}", "SUM a[] = a[] + x[0, k]  b[] = b[] + a[]", "not a plain"),
    ("vectorize_reduction{loop=k}", "SUM a[] = a[| k > 4] + x[0, k]", "not a plain reduction"),
    (
        "vectorize_reduction{loop=k}",
        "SUM a[] = a[] + y[k]  y[k + 1] = 1.0",
        "not a plain reduction",
    ),
    ("vectorize_reduction{loop=k}", "SUM a[] = a[] + 1.0 y[k] = 1.0 y[k + 1] = 2.0", "not a plain"),
    ("split_reduction{loop=k,by=5}", ROW_SUMS % ("", "0.0", ""), "no two parts of 5 iterations"),
    (
        "split_reduction{loop=k,by=2,outer=k}",
        ROW_SUMS % ("", "0.0", ""),
        "not in the innermost result loop",
    ),
    (
        "split_reduction{loop=k,by=2,outer=i}",
        ROW_SUMS % ("y[i] = y[i] + 1.0", "0.0", ""),
        "there is more before the loop over k",
    ),
    (
        "split_reduction{loop=k,by=2,outer=i}",
        ROW_SUMS % ("alloc b: f32 register\n b[] = z[i]", "0.0", " * b[]"),
        "uses more than its sums",
    ),
    (
        "split_reduction{loop=k,by=2,outer=i}",
        ROW_SUMS % ("", "0.0", " * w[i + 1]"),
        "reads what is stored around it",
    ),
    (
        "block_reduction{loop=k,by=2,outer=i}",
        ROW_SUMS % ("let t: f32 = w[i + 1]", "0.0", " * t"),
        "reads what is stored around it",
    ),
    (
        "block_reduction{loop=k,by=2,outer=i}",
        ROW_SUMS % ("", "z[i]", ""),
        "a does not begin with nothing",
    ),
    # a sum in memory
    ("promote{loop=i}", "for i in 0..4 { w[0] = 1.0 y[i] = y[i] + 1.0 }", "not around one store"),
    (
        "promote{loop=i}",
        "for i in 0..4 { for k in 0..8 { y[k] = y[k] * x[i, k] } }",
        "not added to",
    ),
    (
        "promote{loop=i}",
        "for i in 0..4 { for k in 0..8 { y[k] = y[k | k > 2] + x[i, k] } }",
        "y is not added to",
    ),
    (
        "promote{loop=i}",
        "for i in 0..4 { for k in 0..8 { y[k + 1] = y[k + 1] + x[i, k] } }",
        "not stored at the indices of the nest",
    ),
    (
        "promote{loop=i}",
        "for i in 0..4 { for k in 0..i { y[k] = y[k] + x[i, k] } }",
        "an extent in the loop over i depends on another index",
    ),
    ("promote{loop=i}", "for i in 0..4 { for k in 0..4 { y[k] = y[k] + y[i] } }", "read elsewhere"),
    (
        "promote{loop=i}",
        "for i in 0..4 { for k in 0..4 { let t: f32 = y[i]\n y[k] = y[k] + t } }",
        "y is read elsewhere, too",
    ),
    # loops cut in two
    ("distribute{loop=i,past=k,room=4}", KEPT % "i", "the extent of k depends on i"),
    ("distribute{loop=i,past=i,room=4}", KEPT % "8", "not a statement of the loop over i"),
    ("distribute{loop=i,past=k,room=3}", KEPT % "8", "may have more than 3 iterations"),
    (
        "distribute{loop=i,past=k,room=4}",
        "for i in 0..4 { let t: f32 = z[i]\n for k in 0..8 { y[k] = x[i, k] * t } }",
        "t is used past the loop",
    ),
    (
        "distribute{loop=i,past=k,room=4}",
        "for i in 0..4 { w[i] = y[i] for k in 0..8 { y[i + 1] = x[i, k] } }",
        "iterations of the loop over i depend on each other",
    ),
    (
        "fission{loop=i,stored=y,room=4}",
        "for i in 0..4 { let t: f32 = z[i]\n y[i] = t w[i] = t }",
        "cannot be cut behind y",
    ),
    (
        "fission{loop=i,stored=y,room=4}",
        """for i in 0..4 { alloc a: f32 register
           a[] = z[i] y[i] = a[] a[] = a[] + 1.0 w[i] = a[] }""",
        "a register is used on both sides of the cut behind y",
    ),
    (
        "fission{loop=i,stored=a,room=3}",
        "for i in 0..4 { alloc a: f32 register\n a[] = z[i] w[i] = a[] }",
        "may have more than 3 iterations",
    ),
    (
        "fission{loop=i,stored=y,room=4}",
        "for i in 0..4 { y[i] = z[i] w[i] = y[i + 1] }",
        "iterations of the loop over i depend on each other",
    ),
    ("prefetch{loop=i,distance=0}", "for i in 0..4 { y[i] = z[i] }", "distance=1 or more"),
    ("prefetch_panels{loop=i,buffer=z,line=4}", "for i in 0..4 { y[i] = z[i] }", "8 bytes or more"),
]


@pytest.mark.parametrize(("pipeline", "body", "reason"), ILLEGAL)
def test_what_would_change_the_answer_is_refused(pipeline: str, body: str, reason: str) -> None:
    if body.startswith("SUM"):
        registers = "alloc a: f32 register\n alloc b: f32 register\n a[] = 0.0 b[] = 0.0"
        body = f"{registers} for k in 0..8 {{ {body[3:]} }} w[0] = a[] w[1] = b[]"
    with pytest.raises(PassError, match=reason):
        run_pipeline(kernel(body), parse_pipeline(pipeline))


def test_a_loop_that_no_kernel_has() -> None:
    one = kernel("for i in 0..4 { y[i] = z[i] }")
    program = Program("p", (), (), (), (), (one,))
    for where, option in (("any kernel", ""), ("kernel q", ",kernel=q")):
        with pytest.raises(PassError, match=f"there is no loop over j in {where}"):
            run_pipeline(program, parse_pipeline(f"unroll{{loop=j{option}}}"))


# what strategies alone ask for


def _load(expr: str) -> Load:
    """A load as it stands in a kernel."""
    (store,) = stores_of(kernel(f"for i in 0..4 {{ for j in 0..4 {{ y[0] = {expr} }} }}").body)
    assert isinstance(store.value, Load)
    return store.value


def test_what_is_stored_to_is_neither_packed_nor_staged() -> None:
    one = kernel("for i in 0..4 { for j in 0..4 { y[i] = y[j] } }")
    with pytest.raises(PassError, match="what is packed is stored to in the loop"):
        pack(one, _load("y[j]"), "panel", [("j", 4)], "i")
    with pytest.raises(PassError, match="what is staged is stored to in the kernel"):
        stage(one, _load("y[j]"), "copy", "i")


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        ("x[i, i64(z[j])]", "bounds of a subscript are not known"),
        ("x[i, j | j + 1 < 4]", "does not compare the load's own subscripts"),
        ("x[i, j | j < i]", "does not compare the load's own subscripts"),
        ("x[i, j | j == 2]", "does not compare the load's own subscripts"),
    ],
)
def test_what_cannot_be_staged(load: str, reason: str) -> None:
    one = kernel(f"for i in 0..4 {{ for j in 0..4 {{ y[i] = {load} }} }}")
    with pytest.raises(PassError, match=reason):
        stage(one, _load(load), "copy", "i")


def test_nests_that_cannot_be_brought_into_an_order() -> None:
    two = kernel("for i in 0..4 { y[i] = 1.0 for j in 0..4 { w[j] = x[i, j] } }")
    with pytest.raises(PassError, match="i, j are not the loops of one perfect nest"):
        reorder(two, "i", ("i", "j"))
    product = "alloc a: f32 register\n for i in 0..4 { for j in 0..%s { a[] = a[] %s x[i, j] } }"
    with pytest.raises(PassError, match="over j is not a plain reduction"):
        reassociate(kernel(product % ("4", "-")), ("j", "i"))
    with pytest.raises(PassError, match="the extent of a loop depends on another one"):
        reassociate(kernel(product % ("i", "+")), ("j", "i"))


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        ("for c in 0..4 { row[i64(z[c])] = 1.0 }", "a place in a row is not known"),
        ("for c in 0..4 { row[4*c] = row[8*c] }", "over c goes over rows in several ways"),
        ("for c in 0..4 { row[4*c] = row[4*c + 2] }", "over c begins in several places of rows"),
        (
            "for c in 0..4 { for l in 0..8 { row[4*c + l] = 1.0 } }",
            "iterations over c touch the same parts of rows",
        ),
        (
            "for c in 0..4 { for l in 0..6 { row[6*c + l] = 1.0 } }",
            "a part of a row lies in several blocks",
        ),
    ],
)
def test_parts_of_rows_that_cannot_be_skipped(inside: str, reason: str) -> None:
    one = kernel(f"alloc row: f32[64] scratch\n for t in 0..2 {{ {inside} }}")
    with pytest.raises(PassError, match=reason):
        skip(one, "t", frozenset({"row"}), 4, lambda first, last: from_dim(last))
