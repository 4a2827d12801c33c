"""Debug info: which line and column of the source an instruction comes from.

In: spans. Out: LLVM metadata, `!DILocation(line: 7, column: 14, scope: !kernel)`, from which the
assembler writes the line tables that `perf` and debuggers read.
"""

from __future__ import annotations

import os.path
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir

from stepwell.ir.span import Span


@dataclass
class DebugInfo:
    """The debug metadata of one module."""

    module: Any
    producer: str
    _units: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    _locations: dict[tuple[int, int, int], Any] = field(default_factory=dict)
    _started: bool = False

    def subprogram(self, name: str, span: Span | None) -> Any:
        """The metadata of a function written at `span`; None where that is not known."""
        if span is None:
            return None
        file, unit = self._unit(span.file)
        type = self.module.add_debug_info(
            "DISubroutineType", {"types": self.module.add_metadata([None])}
        )
        return self.module.add_debug_info(
            "DISubprogram",
            {
                "name": name,
                "file": file,
                "line": _line(span),
                "type": type,
                "isLocal": True,
                "isDefinition": True,
                "scopeLine": _line(span),
                "isOptimized": True,
                "unit": unit,
            },
            is_distinct=True,
        )

    def location(self, span: Span | None, scope: Any) -> Any:
        """A source location within a function."""
        if span is None or scope is None:
            return None
        key = (_line(span), min(span.column, 65535), id(scope))
        if key not in self._locations:
            where = {"line": key[0], "column": key[1], "scope": scope}
            self._locations[key] = self.module.add_debug_info("DILocation", where)
        return self._locations[key]

    def _unit(self, name: str) -> tuple[Any, Any]:
        if name not in self._units:
            folder, base = os.path.split(name)
            file = self.module.add_debug_info(
                "DIFile", {"filename": base or name, "directory": folder or "."}
            )
            unit = self.module.add_debug_info(
                "DICompileUnit",
                {
                    "language": ir.DIToken("DW_LANG_C99"),
                    "file": file,
                    "producer": self.producer,
                    "runtimeVersion": 0,
                    "isOptimized": True,
                    "emissionKind": ir.DIToken("LineTablesOnly"),
                },
                is_distinct=True,
            )
            self.module.add_named_metadata("llvm.dbg.cu", unit)
            self._start()
            self._units[name] = (file, unit)
        return self._units[name]

    def _start(self) -> None:
        """Without these flags LLVM drops debug info as of an unknown version."""
        if self._started:
            return
        self._started = True
        i32 = ir.IntType(32)
        for flag, value in (("Debug Info Version", 3), ("Dwarf Version", 4)):
            self.module.add_named_metadata("llvm.module.flags", [i32(2), flag, i32(value)])


def _line(span: Span) -> int:
    """The line; 0 (unknown) where it is more than DWARF can say."""
    return span.line if span.line < 2**31 else 0
