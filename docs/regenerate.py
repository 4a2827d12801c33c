"""Run the examples in the documents and write what they print.

    python docs/regenerate.py                    every document
    python docs/regenerate.py docs/tutorial.md   one

A document's fenced blocks run from top to bottom, in one new folder beside a link to `examples/`:

    ```well relu.well       the text is written to a file of that name
    ```console              each line that begins with `$ ` is run, with the lines after it that
                            begin with `> `; what it prints follows
    ```console any          the same, but what it prints may differ between machines
    ```python               a session of `>>>` and `...` lines; what each prints follows

Blocks of any other kind are left alone. The tests compare: a document that no longer tells what
happens fails them.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"^```(well|console|python)([^\n`]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def documents() -> list[Path]:
    """Every document of the project that may hold examples."""
    found = [ROOT / "README.md", ROOT / "examples" / "README.md", *(ROOT / "docs").glob("*.md")]
    return sorted(path for path in found if path.exists())


def regenerated(document: Path) -> str:
    """The document with every block's output as it is now."""
    text = document.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        session = Session(Path(folder))
        return _BLOCK.sub(session.block, text)


@dataclass
class Session:
    """One document being run in `folder`."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def block(self, match: re.Match[str]) -> str:
        """One fenced block, with its outputs renewed."""
        language, option, body = match.group(1), match.group(2).strip(), match.group(3)
        if language == "well":
            if option:
                (self.folder / option).write_text(body, encoding="utf-8")
            return match.group(0)
        if language == "console":
            body = self._console(body, option == "any")
        else:
            body = self._python(body)
        return f"```{language}{match.group(2)}\n{body}```"

    def _console(self, body: str, loose: bool) -> str:
        lines: list[str] = []
        commands = re.split(r"(?m)^\$ ", body)
        if commands[0].strip():
            raise ValueError(f"a console block must begin with `$ `: {commands[0]!r}")
        for part in commands[1:]:
            command, printed = _split_command(part)
            output = self._shell(command.replace("\n> ", "\n"))
            if loose and output.strip() and printed.strip():
                output = printed
            lines.append(f"$ {command}\n{output}")
        return "".join(lines)

    def _shell(self, command: str) -> str:
        scripts = str(Path(sys.executable).parent)
        environment = {
            **os.environ, "NO_COLOR": "1", "COLUMNS": "80",
            "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]),
            "STEPWELL_CACHE_DIR": str(self.folder / ".cache"), "STEPWELL_DEBUG": "",
        }  # fmt: skip
        shell = shutil.which("bash") or "sh"
        done = subprocess.run(
            [shell, "-c", command], cwd=self.folder, env=environment, text=True, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return _tidy(done.stdout)

    def _python(self, body: str) -> str:
        if ">>>" not in body:
            return body
        lines: list[str] = []
        with contextlib.chdir(self.folder):
            for example in doctest.DocTestParser().get_examples(body):
                first, *rest = example.source.rstrip("\n").split("\n")
                lines += [f">>> {first}", *(f"... {line}".rstrip() for line in rest)]
                lines.append(self._evaluate(example.source))
        return "\n".join(line.rstrip("\n") for line in lines if line) + "\n"

    def _evaluate(self, source: str) -> str:
        stream = io.StringIO()
        with contextlib.redirect_stdout(stream):
            try:
                exec(compile(source, "<document>", "single"), self.names)
            except Exception as error:
                lines = traceback.format_exception_only(error)
                stream.write("".join(["Traceback (most recent call last):\n", "  ...\n", *lines]))
        return _tidy(stream.getvalue())


def _split_command(part: str) -> tuple[str, str]:
    """The command with its further lines, which begin with `> `; then what it printed."""
    lines = part.split("\n")
    count = 1
    while count < len(lines) and lines[count].startswith("> "):
        count += 1
    return "\n".join(lines[:count]), "\n".join(lines[count:])


def _tidy(text: str) -> str:
    """Trailing blanks away; one newline at the end of what is not empty."""
    lines = [line.rstrip() for line in text.rstrip().split("\n")]
    return "\n".join(lines) + "\n" if any(lines) else ""


def main(arguments: list[str]) -> None:
    """Rewrite the named documents, or all."""
    for path in [Path(argument).resolve() for argument in arguments] or documents():
        before, after = path.read_text(encoding="utf-8"), regenerated(path)
        print(f"{path.relative_to(ROOT)}: {'same' if before == after else 'rewritten'}")
        if before != after:
            path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
