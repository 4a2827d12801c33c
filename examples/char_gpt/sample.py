"""Let the trained model write: `python sample.py` (Stepwell and NumPy).

In: `char_gpt.well` and the weights that `stepwell train` wrote. Out, on the terminal: a prompt and
what the model makes of it, a character at a time. `--temperature` divides the logits: below 1 the
likely characters become likelier.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from prepare import CONTEXT, decode, encode

import stepwell as sw

FOLDER = Path(__file__).parent


def drawn(logits: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    """A character by its probability, softmax(logits / temperature)."""
    scaled = logits.astype(np.float64) / temperature
    probability = np.exp(scaled - scaled.max())
    return int(rng.choice(len(probability), p=probability / probability.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Let the trained model write.")
    parser.add_argument("--weights", type=Path, default=FOLDER / "char_gpt.safetensors")
    parser.add_argument("--prompt", default='The "for" statement')
    parser.add_argument("--length", type=int, default=600, help="characters (default: 600)")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    model = sw.compile(FOLDER / "char_gpt.well", weights=args.weights)
    rng, text = np.random.default_rng(args.seed), encode(args.prompt)
    sys.stdout.write(decode(text))
    for _ in range(args.length):
        logits = model(text[None, -CONTEXT:])
        character = drawn(logits[0, -1], args.temperature, rng)
        text = np.append(text, np.uint8(character))
        sys.stdout.write(decode(text[-1:]))
        sys.stdout.flush()
    print()


if __name__ == "__main__":
    main()
