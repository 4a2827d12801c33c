"""Philox 4x32-10: the known answers of its authors, by every way to evaluate; one word per place.

The vectors are those of Random123 1.09, tests/kat_vectors.
"""

from __future__ import annotations

import numpy as np
import pytest

from stepwell.ir.dtypes import I64
from stepwell.ir.formula import evaluate_formula
from stepwell.ir.graph import Op, Value
from stepwell.ir.graph.core import Array
from stepwell.ir.graph.interpreter import run_op
from stepwell.ir.graph.random import PHILOX
from stepwell.ir.philox import philox4x32
from stepwell.ir.types import TensorType
from tests.ops.ways import by_loops, by_native_code, by_scheduled_loops

Words = tuple[int, ...]
ONES = 0xFFFFFFFF
KNOWN: list[tuple[tuple[int, int, int, int], tuple[int, int], Words]] = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),  # pi
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], words: Words
) -> None:
    assert philox4x32(counter, key) == words


def _joined(pairs: list[Words]) -> Array:
    """Two words, the low one first, as an i64."""
    return np.array([low | high << 32 for low, high in pairs], np.uint64).view(np.int64)


@pytest.mark.parametrize("repeats", [1, 11])  # scalar code for a tail, and vectors
@pytest.mark.parametrize("word", range(4))
def test_known_answers_in_every_way(word: int, repeats: int) -> None:
    cases = KNOWN * repeats
    arrays = [
        _joined([counter[:2] for counter, _, _ in cases]),
        _joined([counter[2:] for counter, _, _ in cases]),
        _joined([key for _, key, _ in cases]),
    ]
    expected = np.array([words[word] for _, _, words in cases], np.uint32).view(np.int32)
    type = TensorType(I64, (len(cases),))
    operands = tuple(Value(name, type) for name in ("low", "high", "key"))
    types = PHILOX.infer([type] * 3, {"word": word})
    op = Op(PHILOX, operands, {"word": word}, (Value("bits", types[0]),))
    named = dict(zip(("low", "high", "key"), arrays, strict=True))
    found = {
        "reference": run_op(op, dict(zip(operands, arrays, strict=True)), {}, "native"),
        "formula": [evaluate_formula(op.formulas()[0], named, {})],
        "loops": by_loops(op, arrays, {}),
        "loops-opt": by_scheduled_loops(op, arrays, {}),
        "native": by_native_code(op, arrays, {}),
    }
    for way, (bits,) in found.items():
        np.testing.assert_array_equal(bits, expected, way)
