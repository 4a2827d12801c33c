"""Let the trained model write: `python sample.py` (Stepwell and NumPy).

In: `char_gpt.well` and the weights that `stepwell train` wrote. Out, on the terminal: a prompt and
what the model makes of it, a character at a time. `--temperature` divides the logits: below 1 the
likely characters become likelier.

Each character is read once: its keys and values stay in states of the model `next_character`. Once
the context is full, the text goes on from the second half of it, read anew in places from 0.
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


class Reader:
    """Reads a text that grows; what is in the context is in the model's states."""

    def __init__(self, model: sw.Model) -> None:
        self.model = model
        self.start = self.read = 0  # of the context; of what is not read yet

    def next_logits(self, text: np.ndarray) -> np.ndarray:
        """Of the character after the text: float32[96]."""
        if len(text) - self.start > CONTEXT:
            self.start = self.read = len(text) - CONTEXT // 2
        for place in range(self.read, len(text)):
            logits = self.model(text[place : place + 1], np.int64(place - self.start))
        self.read = len(text)
        return logits[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Let the trained model write.")
    parser.add_argument("--weights", type=Path, default=FOLDER / "char_gpt.safetensors")
    parser.add_argument("--prompt", default='The "for" statement')
    parser.add_argument("--length", type=int, default=600, help="characters (default: 600)")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    source = FOLDER / "char_gpt.well"
    reader = Reader(sw.compile(source, model="next_character", weights=args.weights))
    rng, text = np.random.default_rng(args.seed), encode(args.prompt)
    sys.stdout.write(decode(text))
    for _ in range(args.length):
        character = drawn(reader.next_logits(text), args.temperature, rng)
        text = np.append(text, np.uint8(character))
        sys.stdout.write(decode(text[-1:]))
        sys.stdout.flush()
    print()


if __name__ == "__main__":
    main()
