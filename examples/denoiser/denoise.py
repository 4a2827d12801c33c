"""Take noise out of the photograph that was held out: `python denoise.py` (Stepwell and NumPy).

In: `denoiser.well`, the weights that `stepwell train` wrote, `photographs.npz`. Out: `flower.png`,
with the photograph as it is, with noise, and denoised; and the ratios of signal to noise.
"""

from __future__ import annotations

import argparse
import struct
import zlib
from pathlib import Path

import numpy as np

import stepwell as sw

FOLDER = Path(__file__).parent


def png(image: np.ndarray) -> bytes:
    """A picture u8[3, height, width] as a PNG file: 8 bits, RGB, one compressed block."""
    _, height, width = image.shape
    rows = image.transpose(1, 2, 0).reshape(height, 3 * width)
    data = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def decibels(image: np.ndarray, clean: np.ndarray) -> float:
    """The ratio of peak signal to noise."""
    return float(-10 * np.log10(np.mean((image - clean) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Take noise out of a photograph.")
    parser.add_argument("--weights", type=Path, default=FOLDER / "denoiser.safetensors")
    parser.add_argument("--output", type=Path, default=FOLDER / "flower.png")
    args = parser.parse_args()

    with np.load(FOLDER / "photographs.npz") as photographs:
        clean = photographs["flower"].astype(np.float32) / 255
    noise = np.random.default_rng(0).standard_normal(clean.shape, dtype=np.float32)
    noisy = clean + np.float32(0.1) * noise
    model = sw.compile(FOLDER / "denoiser.well", weights=args.weights)
    denoised = model(noisy[None])[0]
    side_by_side = np.concatenate([clean, noisy, denoised], axis=2)
    args.output.write_bytes(png((255 * side_by_side.clip(0, 1)).round().astype(np.uint8)))
    print(f"noisy {decibels(noisy, clean):.2f} dB, denoised {decibels(denoised, clean):.2f} dB")


if __name__ == "__main__":
    main()
