"""Write the text of Python's own documentation as samples: `python prepare.py` (NumPy alone).

In: `pydoc_data.topics` of the Python that runs this, some 400 thousand characters of `help()`.
Out, beside this file (or in the folder given as `--output`):

    text.npz    train_text u8[N, 129], valid_text u8[M, 129]: stretches of the text

A character is a number below 96: 0 ends a line, the others are ASCII's from the space on. Topics
quote one another, so each paragraph is kept once; then every tenth passage of some 4,000
characters is held out.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

CONTEXT = 128
STRIDE = 16  # training samples overlap: they begin this far apart
PASSAGE = 4000
HELD_OUT = 10  # every tenth passage

ASCII = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."})

Array = np.ndarray[Any, np.dtype[np.uint8]]


def encode(text: str) -> Array:
    """Characters as numbers; what is not ASCII becomes `?`."""
    plain = text.translate(ASCII).encode("ascii", "replace").replace(b"\n", b"\x1f")
    return np.frombuffer(plain, np.uint8) - 31


def decode(numbers: Array) -> str:
    return (numbers + 31).tobytes().replace(b"\x1f", b"\n").decode("ascii")


def paragraphs() -> Iterator[str]:
    """Of all topics in their order, each paragraph once."""
    seen = set()
    for topic in topics.values():
        for paragraph in re.split(r"\n\n+", topic.strip()):
            words = " ".join(paragraph.split())
            if words not in seen:
                seen.add(words)
                yield paragraph


def passages() -> Iterator[str]:
    """Neighbouring paragraphs, put together up to some length."""
    passage = ""
    for paragraph in paragraphs():
        passage += paragraph + "\n\n"
        if len(passage) >= PASSAGE:
            yield passage
            passage = ""
    yield passage


def samples(text: str, stride: int) -> Array:
    """Stretches of 129 characters that begin `stride` apart."""
    return np.lib.stride_tricks.sliding_window_view(encode(text), CONTEXT + 1)[::stride]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write Python's documentation as samples.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().output
    texts = list(passages())
    held_out = texts[HELD_OUT - 1 :: HELD_OUT]
    learned = [text for i, text in enumerate(texts) if i % HELD_OUT != HELD_OUT - 1]
    arrays = {
        "train_text": samples("".join(learned), STRIDE),
        "valid_text": samples("".join(held_out), CONTEXT),
    }
    np.savez(folder / "text.npz", **arrays)
    for name, array in arrays.items():
        print(f"{name}: u8{list(array.shape)}")


if __name__ == "__main__":
    main()
