"""Modules: parsing and linking the files of a program.

    use nn                      → the folder's nn.well, else the standard library's
    use "layers.well" as my     → that file, relative to the file that names it

A loaded module's `names` maps what its declarations and `use` lines define. The prelude's functions
are in scope everywhere; every module may define its own of the same name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from stepwell.frontend import syntax
from stepwell.frontend.library import ALWAYS, LIBRARY, Loader, library_names, library_source
from stepwell.frontend.parser import parse, parse_with_recovery
from stepwell.frontend.suggest import did_you_mean
from stepwell.frontend.values import Declared, Namespace
from stepwell.ir.diagnostics import Diagnostic, Label


@dataclass(eq=False)
class LoadedModule:
    """A parsed file and the names that it defines."""

    file: str
    source: str
    tree: syntax.Module
    names: dict[str, Declared | Namespace] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()  # declared, but not readable
    trains: dict[str, syntax.Function] = field(default_factory=dict)  # may share a model's name

    @property
    def is_library(self) -> bool:
        return self.file.startswith(LIBRARY)


@dataclass(eq=False)
class CheckedProgram:
    """A program whose declarations have been read; `root` is the file that was asked for."""

    root: LoadedModule
    modules: dict[str, LoadedModule]
    endless: list[syntax.Function] = field(default_factory=list)  # found to exceed the limits

    @property
    def sources(self) -> dict[str, str]:
        """Text by file name, for the renderer of diagnostics."""
        texts = {module.file: module.source for module in self.modules.values()}
        library = map(_library_module, ALWAYS)
        return texts | {module.file: module.source for module in library}


@lru_cache(maxsize=1)
def prelude() -> LoadedModule:
    """The functions that are always in scope: a module with the names of several files."""
    first = _library_module(ALWAYS[0])
    names = {n: value for name in ALWAYS for n, value in _library_module(name).names.items()}
    return LoadedModule(first.file, first.source, first.tree, names)


@lru_cache(maxsize=16)
def _library_module(name: str) -> LoadedModule:
    found = library_source(name)
    if found is None:
        raise KeyError(name)
    file, source = found
    module = LoadedModule(file, source, parse(source, file))
    for function in module.tree.functions:
        module.names[function.name] = Declared(function, module)
    return module


class Linker:
    """Loads a file and everything that it uses, collecting mistakes."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.modules: dict[str, LoadedModule] = {}
        self.faults: list[Diagnostic] = []

    def load(self, file: str, source: str) -> LoadedModule:
        """The module of one file, with all declarations that can be read."""
        read = parse_with_recovery(source, file)
        tree = read.module
        module = LoadedModule(file, source, tree, broken=frozenset(read.broken))
        self.faults += read.faults
        self.modules[file] = module
        for use in tree.uses:
            self._use(module, use)
        for function in tree.functions:
            self._declare(module, function)
        return module

    def _declare(self, module: LoadedModule, function: syntax.Function) -> None:
        train = function.kind == "train"
        earlier = (module.trains if train else module.names).get(function.name)
        if earlier is not None:
            first = earlier.function if isinstance(earlier, Declared) else earlier
            place = first.head if isinstance(first, syntax.Function) else None
            labels = [Label(function.head, "declared again")]
            labels += [Label(place, "first declared here")] if place else []
            self.faults.append(
                Diagnostic(
                    "SW0303",
                    f"`{function.name}` is declared twice",
                    tuple(labels),
                    (),
                    "give one of them another name",
                ),
            )
            return
        if train:
            module.trains[function.name] = function
        else:
            module.names[function.name] = Declared(function, module)

    def _use(self, module: LoadedModule, use: syntax.Use) -> None:
        found = self.loader(use.target, use.is_file, module.file)
        if found is None:
            module.broken |= {use.alias}
            names = [] if use.is_file else library_names()
            self.faults.append(
                Diagnostic(
                    "SW0302",
                    f"there is no module `{use.target}`",
                    (Label(use.span, "not found"),),
                    (),
                    did_you_mean(use.target, names)
                    or "modules are found beside the file, then in the standard library",
                )
            )
            return
        file, source = found
        if file.startswith(LIBRARY):
            loaded = self.modules[file] = _library_module(use.target)
        else:
            loaded = self.modules.get(file) or self.load(file, source)
        module.names[use.alias] = Namespace(use.alias, loaded)
