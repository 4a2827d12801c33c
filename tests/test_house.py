"""The architecture, kept: who may import whom, what a folder must have, what no file may say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# folder → what of Stepwell it may import, itself aside
TABLE = {
    "ir": set(),
    "frontend": {"ir"},
    "lowering": {"ir"},
    "codegen": {"ir"},
    "driver": {"ir", "frontend", "lowering", "codegen"},
}
# Files that need a package which only an extra brings.
TOOLS = {
    "codegen/math/fit.py": {"mpmath"},
    "driver/bench/peers.py": {"torch", "onnxruntime", "openvino", "jax"},
    "driver/bench/iree_peer.py": {"iree"},
    "driver/bench/tvm_peer.py": {"tvm", "onnx"},
    "driver/bench/jax_peer.py": {"torch", "jax"},
    "driver/bench/training_peers.py": {"torch", "jax"},
    "driver/training/event_files.py": {"tensorboard"},
    "driver/training/curves.py": {"matplotlib"},
}
DEPENDENCIES = {"llvmlite", "numpy", "lark", "ml_dtypes", "safetensors", "rich"}
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
SKIPPED = {"venv", "build", "dist", "__pycache__"}


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    for path in sorted(folder.rglob(pattern)):
        parts = path.relative_to(ROOT).parts
        skipped = any(part in SKIPPED or part.endswith(".egg-info") for part in parts)
        hidden = any(part.startswith(".") and part != ".ci" for part in parts)
        if path.is_file() and not skipped and not hidden:
            yield path


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write absolute imports"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _owner(name: str) -> str | None:
    """The folder that a dotted name of ours lives in; None for others'."""
    parts = name.split(".")
    if parts[0] != "stepwell":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in TABLE else "driver"


@pytest.mark.parametrize("folder", TABLE)
def test_imports_follow_the_table(folder: str) -> None:
    faults = []
    for path in _files(ROOT / folder, "*.py"):
        for line, name in _imports(path):
            owner = _owner(name)
            if name == "stepwell":
                continue  # what is imported from it comes as a dotted name too
            if owner is not None and owner not in TABLE[folder] | {folder}:
                faults.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("folder", TABLE)
def test_third_parties_are_the_declared_ones(folder: str) -> None:
    found: set[str] = set()
    for path in _files(ROOT / folder, "*.py"):
        names = {name.split(".")[0] for _, name in _imports(path)}
        found |= names - TOOLS.get(path.relative_to(ROOT).as_posix(), set())
    foreign = {
        name
        for name in found - {"stepwell", "__future__", ""}
        if name not in sys.stdlib_module_names
    }
    assert foreign <= DEPENDENCIES


def test_the_table_is_that_of_the_project() -> None:
    """A check of the check: a forbidden import is found."""
    assert _owner("stepwell.lowering.fuse") == "lowering"
    assert _owner("stepwell.cli.main") == "driver"
    assert _owner("numpy.linalg") is None


@pytest.mark.parametrize("folder", TABLE)
def test_a_bare_name_is_refused(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"not as '{folder}'" in done.stderr


def _pyproject() -> dict[str, dict]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_declared() -> None:
    settings = _pyproject()["tool"]["setuptools"]
    found = set()
    for folder in TABLE:
        for path in _files(ROOT / folder, "__init__.py"):
            parts = path.parent.relative_to(ROOT).parts
            found.add(".".join(["stepwell", *(parts[1:] if folder == "driver" else parts)]))
    assert sorted(settings["packages"]) == sorted(found)
    modules = {path.parent for folder in TABLE for path in _files(ROOT / folder, "*.py")}
    assert {path for path in modules if not (path / "__init__.py").exists()} == set()


def test_every_data_file_is_packaged() -> None:
    patterns = _pyproject()["tool"]["setuptools"]["package-data"]
    for folder in TABLE:
        package = "stepwell" if folder == "driver" else f"stepwell.{folder}"
        base = ROOT / folder
        for suffix in ("*.lark", "*.well", "*.md", "*.c", "*.h"):
            for path in _files(base, suffix):
                relative = path.relative_to(base)
                kept = any(relative.match(p) for p in patterns.get(package, ()))
                assert kept, f"{path.relative_to(ROOT)} is not in package-data of {package}"


def test_core_dependencies() -> None:
    listed = _pyproject()["project"]["dependencies"]
    assert {re.split(r"[<>=\s]", item)[0] for item in listed} == DEPENDENCIES


@pytest.mark.parametrize("folder", ["ir", "frontend", "lowering", "codegen", "driver"])
def test_every_folder_has_a_readme(folder: str) -> None:
    assert (ROOT / folder / "README.md").stat().st_size > 200


def test_no_file_is_called_after_nothing() -> None:
    named = [p for folder in TABLE for p in _files(ROOT / folder, "*.py") if p.stem in BANNED]
    assert not named


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for folder in [*TABLE, "tests", "benchmarks", "examples"]
        for path in _files(ROOT / folder, "*.py")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent


TEXT = {".py", ".md", ".toml", ".well", ".lark", ".txt", ".graph", ".loops", ".c", ".h", ""}
FORBIDDEN = [r"\.\./" + "shared", r"(?<![\w.])/" + r"work/", "TO" + "DO", "FIX" + "ME"]


def test_no_file_says_what_it_must_not() -> None:
    """Nothing refers to folders outside the repository, nothing is left for later."""
    faults = []
    for path in _files(ROOT, "*"):
        if path.suffix not in TEXT:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        faults += [
            f"{path.relative_to(ROOT)}: {match.group()}"
            for pattern in FORBIDDEN
            for match in re.finditer(pattern, text)
        ]
    assert not faults, "\n".join(faults)


def test_links_in_documents_lead_somewhere() -> None:
    faults = []
    for path in _files(ROOT, "*.md"):
        text = re.sub(r"```.*?```|`[^`]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
                faults.append(f"{path.relative_to(ROOT)}: {target}")
    assert not faults, "\n".join(faults)
