"""What the compiler says about itself on the way down: `STEPWELL_DEBUG` and `--dump`.

In: stages and passes as they happen. Out: lines on stderr, and numbered files:

    DIR/01-ast.txt  02-graph.txt  03-canonicalize.txt  04-fuse.txt  …  12-loops.txt  …  20-asm.txt

A pass that changed nothing leaves no file.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from stepwell.files import write_file
from stepwell.terminal import print_text

KERNELS, TIMES, CHANGES, LLVM, ASSEMBLY = 1, 2, 3, 4, 5


def debug_level() -> int:
    """`STEPWELL_DEBUG` as a number; 0 where it is not one."""
    text = os.environ.get("STEPWELL_DEBUG", "")
    return int(text) if text.isdigit() else 0


@dataclass
class Trace:
    """Listens to one compilation."""

    level: int = 0
    folder: Path | None = None
    count: int = 0

    @staticmethod
    def start(dump: str | Path | None = None) -> Trace:
        """From the environment, and the folder to dump into (made where it is missing)."""
        folder = None if dump is None else Path(dump)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return Trace(debug_level(), folder)

    @property
    def wants_text(self) -> bool:
        """Whether the text of every changed pass is needed."""
        return self.level >= CHANGES or self.folder is not None

    @property
    def needs_everything(self) -> bool:
        """Whether every step must be walked, whatever the cache holds."""
        return self.level >= TIMES or self.folder is not None

    def say(self, level: int, text: str, kind: str = "") -> None:
        """A line, or many, on stderr at `level` and above."""
        if self.level >= level:
            print_text(text, kind, sys.stderr)

    def stage(self, name: str, content: str | bytes) -> None:
        """A stage was reached."""
        wanted = {"llvm": LLVM, "llvm-opt": LLVM, "asm": ASSEMBLY}.get(name)
        if wanted is not None and isinstance(content, str):
            self.say(wanted, f"// stage {name}\n{content}", name)
        self._dump(name, content)

    def ran(self, name: str, seconds: float, changed: str | None) -> None:
        """A pass ran; `changed` is the new text where it changed anything (and text is wanted)."""
        note = "" if changed is None else "  changed"
        self.say(TIMES, f"{name:24} {seconds * 1e3:9.2f} ms{note}")
        if changed:
            self.say(CHANGES, f"// after {name}\n{changed}")
            self._dump(name, changed)

    def _dump(self, name: str, content: str | bytes) -> None:
        if self.folder is None:
            return
        self.count += 1
        suffix = "o" if isinstance(content, bytes) else "txt"
        text = content if isinstance(content, bytes) else content.rstrip("\n") + "\n"
        write_file(self.folder / f"{self.count:02}-{name}.{suffix}", text)
