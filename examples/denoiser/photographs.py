"""Make this folder's data: `python photographs.py` (NumPy, scikit-learn and Pillow).

In: the two photographs that scikit-learn bundles. Out, beside this file (or in `--output`):

    photographs.npz    china u8[3, 212, 320], flower u8[3, 128, 160]

Both are scaled to half their size (means of 2x2 pixels); of the flower the middle is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_image


def halved(name: str) -> np.ndarray:
    """[height, width, 3] to [3, height // 2, width // 2]."""
    image = load_sample_image(name).astype(np.float32)
    image = image[: image.shape[0] // 4 * 4]
    means = image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2, 3).mean((1, 3))
    return np.round(means).astype(np.uint8).transpose(2, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the data of this folder.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().output
    flower = halved("flower.jpg")[:, 42:170, 80:240]
    np.savez_compressed(folder / "photographs.npz", china=halved("china.jpg"), flower=flower)


if __name__ == "__main__":
    main()
