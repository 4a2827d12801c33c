"""From a .well source to a graph: parse, resolve, check every shape, elaborate."""

from typing import TYPE_CHECKING

from stepwell.ir.lazy import lazily

if __name__ != "stepwell.frontend":
    raise ImportError("import this package as 'stepwell.frontend', not as 'frontend'")

if TYPE_CHECKING:
    from stepwell.frontend.library import find_module
    from stepwell.frontend.modules import CheckedProgram
    from stepwell.frontend.parser import parse
    from stepwell.frontend.printer import render_ast
    from stepwell.frontend.program import check, elaborate, elaborate_train, models, trains

__all__ = [
    "CheckedProgram",
    "check",
    "elaborate",
    "elaborate_train",
    "find_module",
    "models",
    "parse",
    "render_ast",
    "trains",
]

# A program from the cache is looked up by the text of its modules; nothing is parsed.
__getattr__ = lazily(
    __name__,
    {
        "CheckedProgram": "modules",
        "check": "program",
        "elaborate": "program",
        "elaborate_train": "program",
        "find_module": "library",
        "models": "program",
        "parse": "parser",
        "render_ast": "printer",
        "trains": "program",
    },
)
