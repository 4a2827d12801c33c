"""A bug in Stepwell, said to the user and kept for whoever mends it.

In: an exception that no one expected. Out: a message, and a file that `stepwell opt` re-runs:

    error: a bug in Stepwell: cse: the answer changed
      it can be seen again with: stepwell opt stepwell-bug-1a2b3c4d.txt --passes 'cse'
"""

from __future__ import annotations

import hashlib
import shlex
import sys
import tempfile
import traceback
from pathlib import Path

from stepwell.files import write_file
from stepwell.ir.diagnostics import InternalError
from stepwell.version import stepwell_version


def write_reproducer(error: Exception) -> str:
    """Write the file, in this folder or else the temporary one; the message for the user."""
    bug = error if isinstance(error, InternalError) else None
    message = bug.message if bug else f"{type(error).__name__}: {error}"
    first = message.splitlines()[0] if message else "no message"
    head = f"// stepwell {stepwell_version()}\n// {first}\n"
    head += f"// command: {shlex.join(sys.argv[1:])}\n"
    trace = "".join(traceback.format_exception(error))
    notes = "".join(f"// {line}\n" for line in trace.splitlines())
    body = bug.reproducer if bug else ""
    text = head + body.rstrip("\n") + "\n" + notes
    path = _write(text.encode(errors="backslashreplace"))
    lines = [f"a bug in Stepwell: {message}"]
    lines += [f"  {note}" for note in (bug.notes if bug else ())]
    if path and bug and bug.reproducer:
        command = f"opt {path} --passes '{bug.pipeline}'" if bug.pipeline else f"emit {path} -s obj"
        lines.append(f"  it can be seen again with: stepwell {command}")
    elif path:
        lines.append(f"  what Stepwell was doing is in {path}")
    lines.append("  please report it, with that file; your program is not at fault")
    return "\n".join(lines)


def _write(text: bytes) -> Path | None:
    name = f"stepwell-bug-{hashlib.sha256(text).hexdigest()[:8]}.txt"
    for folder in (Path(), Path(tempfile.gettempdir())):
        try:
            write_file(folder / name, text)
        except OSError:
            continue
        return folder / name
    return None
