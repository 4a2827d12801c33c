"""Random transformations of random kernels: refused with a reason, or the answer stays the same."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from hypothesis import given, note, seed, settings
from hypothesis import strategies as st
from random_nests import nests
from seeds import note_seed, seed_of

from stepwell.ir.diagnostics import PassError
from stepwell.ir.loop import format_kernel, parse_kernel
from stepwell.ir.loop.analysis import index_names, kernel_buffers
from stepwell.ir.loop.core import Kernel
from stepwell.ir.passes import format_pass, run_pipeline
from stepwell.lowering.transforms.passes import TRANSFORMS, InterchangeLoops, OfIterations

CASES = 300
REORDERING = [item for item in TRANSFORMS if issubclass(item, (OfIterations, InterchangeLoops))]
DRAWN = (*TRANSFORMS, *REORDERING * 6)  # what can change an answer most often


def _option(name: str, kernel: Kernel) -> st.SearchStrategy[Any]:
    match name:
        case "loop" | "past" | "outer":
            return st.sampled_from(sorted(index_names(kernel.body)))
        case "buffer" | "stored":
            return st.sampled_from(sorted(kernel_buffers(kernel)))
        case "tail":
            return st.sampled_from(("guard", "bound", "peel"))
        case "lanes":
            return st.sampled_from((1, 2, 4, 8))
        case "room":
            return st.just(8)
    return st.integers(1, 4)  # by, at, unroll, distance


def test_random_transforms() -> None:
    done: Counter[str] = Counter()

    @seed(seed_of(0))
    @settings(max_examples=CASES)
    @given(nests(), st.data())
    def one(text: str, data: st.DataObject) -> None:
        note_seed(0)
        kernel = parse_kernel(text)
        for _ in range(2):
            made = data.draw(st.sampled_from(DRAWN))
            names = [f.name for f in dataclasses.fields(made) if f.name not in ("kernel", "line")]
            item = made(**{name: data.draw(_option(name, kernel)) for name in names})
            note(f"{format_pass(item)} of\n{format_kernel(kernel)}")
            try:
                changed = run_pipeline(kernel, [item], check=True)
            except PassError:
                continue
            done[item.name] += changed is not kernel
            kernel = changed

    one()
    assert done.total() > CASES // 4, done
