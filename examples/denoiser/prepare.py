"""Cut the photographs into samples: `python prepare.py` (NumPy alone).

In: `photographs.npz` beside this file. Out, there too (or in the folder given as `--output`):

    patches.npz    train_clean u8[N, 3, 32, 32] of one photograph, valid_clean u8[M, 3, 32, 32] of
                   the other
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
SIZE = 32


def patches(image: np.ndarray, stride: int) -> np.ndarray:
    """Squares whose corners lie `stride` apart."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (SIZE, SIZE), axis=(1, 2))
    chosen = windows[:, ::stride, ::stride].transpose(1, 2, 0, 3, 4)
    return np.ascontiguousarray(chosen.reshape(-1, len(image), SIZE, SIZE))


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut the photographs into samples.")
    parser.add_argument("--output", type=Path, default=FOLDER)
    folder = parser.parse_args().output
    with np.load(FOLDER / "photographs.npz") as photographs:
        arrays = {
            "train_clean": patches(photographs["china"], 6),
            "valid_clean": patches(photographs["flower"], SIZE),
        }
    np.savez(folder / "patches.npz", **arrays)
    for name, array in arrays.items():
        print(f"{name}: u8{list(array.shape)}")


if __name__ == "__main__":
    main()
