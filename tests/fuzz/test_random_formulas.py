"""Random index formulas: what native code computes is what plain loops over the formula compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from formulas import Program, Unsuitable, programs
from hypothesis import assume, given, note, seed, settings
from hypothesis import strategies as st
from native_runs import Refused, run_native
from seeds import note_seed, seed_of

from stepwell.codegen.compile import Object
from stepwell.codegen.modules import compile_objects
from stepwell.compilation import Compilation
from stepwell.source import as_source

CASES = 300
SHARES = 2  # so that parallel runs can share the work
EXTENTS = (1, 2, 3, 4, 5, 7)
# Entry checks that an empty axis can fail although nothing would be read.
ENTRY = ("must stay in axis", "must be at least 1")


def _compare(
    compilation: Compilation,
    objects: Sequence[Object],
    program: Program,
    sizes: dict[str, int],
    seed: int,
) -> str:
    """Runs one binding of the sizes; how it went."""

    def run() -> np.ndarray:
        (output,) = run_native(objects, compilation.program, sizes, arrays).values()
        return output

    arrays = program.arrays(sizes, seed)
    note(f"sizes {sizes}, arrays:\n{arrays}")
    try:
        expected, errors = program.expected(sizes, arrays)
    except Unsuitable:
        return "unsuitable"
    except IndexError as error:
        note(f"a subscript leaves its axis: {error}")
        with pytest.raises(Refused):
            run()
        return "refused"
    try:
        found = run()
    except Refused as error:
        if 0 in sizes.values() and any(text in str(error) for text in ENTRY):
            return "refused"
        raise
    assert found.shape == expected.shape
    close = found == expected
    if found.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            close |= np.abs(found.astype(np.float64) - expected) <= 2 * errors
    if not close.all():
        places = np.argwhere(~close)[:5].tolist()
        note(f"found\n{found}\nexpected\n{expected}\nwithin\n{2 * errors}\nwrong at {places}")
    assert close.all(), program.text
    return "equal"


def examine(program: Program, extents: tuple[int, int, int], data: int) -> Counter[str]:
    """Compiles once and runs with three bindings of the sizes; how often it went how."""
    note(program.text)
    compilation = Compilation(as_source(program.text))
    objects = compile_objects(compilation.program, compilation.target)
    sizes = dict(zip(("N", "M", "V"), extents, strict=True))
    bindings = [sizes, *({**sizes, name: data % 2} for name in ("N", "M"))]
    return Counter(_compare(compilation, objects, program, binding, data) for binding in bindings)


@pytest.mark.parametrize("share", range(SHARES))
def test_random_formulas(share: int) -> None:
    seen: Counter[str] = Counter()

    @seed(seed_of(share))
    @settings(max_examples=CASES // SHARES)
    @given(programs(), st.tuples(*[st.sampled_from(EXTENTS)] * 3), st.integers(0, 99))
    def one(program: Program, extents: tuple[int, int, int], data: int) -> None:
        note_seed(share)
        found = examine(program, extents, data)
        assume(found["equal"])
        seen.update(found)

    one()
    assert seen["equal"] > 1.5 * CASES // SHARES
