"""One entry of the catalogue of diagnostics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """What a code means. `example` is a text that is refused with this code."""

    code: str
    title: str
    cause: str
    example: str
    fix: str

    def text(self) -> str:
        """The entry for a terminal."""
        example = "".join(f"    {line}\n" for line in _shortened(self.example))
        return (
            f"{self.code}: {self.title}\n\n{self.cause}\n\n"
            f"An example that is refused:\n\n{example}\nWhat to do: {self.fix}\n"
        )

    def markdown(self) -> str:
        """The entry for `docs/errors.md`."""
        example = "\n".join(_shortened(self.example))
        return (
            f"### {self.code}: {self.title}\n\n{self.cause}\n\n```\n{example}\n```\n\n{self.fix}\n"
        )


def _shortened(example: str) -> list[str]:
    """Lines, the middle of very long ones left out."""
    lines = example.rstrip("\n").split("\n")
    return [line if len(line) < 100 else f"{line[:40]} … {line[-40:]}" for line in lines]
