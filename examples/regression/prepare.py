"""Make this folder's data: `python prepare.py` (NumPy and scikit-learn 1.1 or newer).

In: scikit-learn's diabetes data, 442 patients. Out, beside this file (or in `--output`):

    diabetes.npz    train_patient f32[342, 10], train_progression f32[342],
                    valid_patient f32[100, 10], valid_progression f32[100]

The ten measures (age, sex, body mass index, blood pressure, six of the blood serum) have mean 0 and
deviation 1 over the training patients. The split is random, seed 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes

HELD_OUT = 100


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the data of this folder.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().output
    patient, progression = load_diabetes(return_X_y=True, scaled=False)
    order = np.random.default_rng(0).permutation(len(patient))
    valid, train = order[:HELD_OUT], order[HELD_OUT:]
    scaled = (patient - patient[train].mean(0)) / patient[train].std(0)
    arrays = {}
    for name, rows in (("train", train), ("valid", valid)):
        arrays[f"{name}_patient"] = scaled[rows].astype(np.float32)
        arrays[f"{name}_progression"] = progression[rows].astype(np.float32)
    np.savez_compressed(folder / "diabetes.npz", **arrays)


if __name__ == "__main__":
    main()
