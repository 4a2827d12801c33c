"""What a compilation leaves behind: objects that describe themselves, and a report; from the cache
where it is there.

In: a source and options. Out: an `Artefact`, which becomes a model in this process without looking
at the program again.

    key = hash(compiler, source and all that it uses, options, target)
    cache[key]  →  Artefact(description, report, objects)
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from stepwell.cache import DiskCache
from stepwell.child import in_child
from stepwell.compilation import Compilation
from stepwell.debug import KERNELS
from stepwell.ir.collection import collection_paused
from stepwell.programs import provide_parser
from stepwell.report import Kernels, kernel_reports
from stepwell.threads import provide_runtime
from stepwell.version import compiler_digest

_TURN = 0.0002  # seconds that a thread of Python has where others wait
_compiles_here = False  # whether this process has compiled before


@dataclass(frozen=True)
class Artefact:
    """Native code, what it says of itself, and what the compiler says of it."""

    description: dict[str, Any]
    report: dict[str, Any]
    objects: tuple[bytes, ...]

    def pack(self) -> bytes:
        """As bytes: the length of the JSON, the JSON, the objects."""
        lengths = [len(each) for each in self.objects]
        about = {"description": self.description, "report": self.report, "objects": lengths}
        head = json.dumps(about).encode()
        return b"".join([len(head).to_bytes(8, "little"), head, *self.objects])

    @staticmethod
    def unpack(data: bytes) -> Artefact | None:
        """From bytes; None where these are no artefact."""
        length = int.from_bytes(data[:8], "little")
        try:
            head = json.loads(data[8 : 8 + length])
            ends = list(accumulate(head["objects"], initial=8 + length))
            objects = tuple(data[start:end] for start, end in pairwise(ends))
            return Artefact(head["description"], head["report"], objects)
        except (ValueError, KeyError, TypeError):
            return None


def artefact(compilation: Compilation, cache: DiskCache | None) -> Artefact:
    """From the cache, else compiled and put there."""
    checking = compilation.options.check_each_pass or compilation.trace.needs_everything
    key = cache_key(compilation)
    if cache is not None and not checking:
        found = cache.get(key)
        kept = None if found is None else Artefact.unpack(found)
        if kept is not None:
            compilation.trace.say(KERNELS, str(Kernels(kernel_reports(kept.report["kernels"]))))
            return kept
    made = _compiled_apart(compilation, cache) or _compiled(compilation, cache)
    if cache is not None:
        cache.put(key, made.pack())
    return made


def _compiled_apart(compilation: Compilation, cache: DiskCache | None) -> Artefact | None:
    """Compiled in a child process, so that what compiling takes is given back: it is several times
    what most models take. None where it was not.

    Only the first time, and where a trainer evaluates, which holds a step beside it: a process that
    compiles again keeps what it has loaded for that.
    """
    global _compiles_here
    options, trace = compilation.options, compilation.trace
    here = _compiles_here and options.mode != "evaluate"
    _compiles_here = True
    if here or options.check_each_pass or trace.level or trace.folder:
        return None
    data = in_child(lambda: _packed(compilation, cache), meanwhile=lambda: provide_runtime(cache))
    return None if data is None else Artefact.unpack(data)


def _packed(compilation: Compilation, cache: DiskCache | None) -> bytes:
    """In a process of its own. The threads that call LLVM ask for Python's lock often and briefly:
    with turns of 5 ms, as Python has them, they would mostly wait for the one that writes text."""
    sys.setswitchinterval(_TURN)
    return _compiled(compilation, cache).pack()


def _compiled(compilation: Compilation, cache: DiskCache | None) -> Artefact:
    from stepwell.codegen.description import describe
    from stepwell.report import report

    with collection_paused():
        if cache is not None and compilation.source.kind == "well":
            provide_parser(cache)
        program, target = compilation.program, compilation.target
        graph = None if compilation.source.kind == "loops" else compilation.optimised_graph
        about = report(program, graph)
        return Artefact(describe(program, target), about, compilation.objects)


def cache_key(compilation: Compilation) -> str:
    """A hash of all that the artefact depends on."""
    options = compilation.options
    parts = [
        compiler_digest(),
        compilation.source.digest,
        repr((options.model, options.fast_math, sorted(options.statics), options.profile)),
        repr((options.mode, options.winograd)),
        repr(compilation.target),
        compilation.tuning_digest,
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
