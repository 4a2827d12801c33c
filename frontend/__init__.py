"""From a .well source to a graph: parse, resolve, check every shape, elaborate."""

if __name__ != "stepwell.frontend":
    raise ImportError("import this package as 'stepwell.frontend', not as 'frontend'")

from stepwell.frontend.elaborate import check, elaborate, models
from stepwell.frontend.modules import CheckedProgram, find_module
from stepwell.frontend.parser import parse
from stepwell.frontend.printer import render_ast

__all__ = ["CheckedProgram", "check", "elaborate", "find_module", "models", "parse", "render_ast"]
