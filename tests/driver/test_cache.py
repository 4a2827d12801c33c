"""The cache on disk: by content, bounded, safe under many processes, tolerant of damage."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from stepwell.cache import DiskCache, cache_folder


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "deep" / "folder")
    assert cache.get("a") is None
    cache.put("a", b"one")
    cache.put("a", b"two")
    assert cache.get("a") == b"two"
    assert cache.clear() > 0
    assert cache.get("a") is None


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_entry_is_dropped(tmp_path: Path, damage: bytes | None) -> None:
    cache = DiskCache(tmp_path)
    cache.put("a", b"payload")
    (path,) = tmp_path.glob("*.bin")
    path.write_bytes(path.read_bytes()[:-1] + b"X" if damage is None else damage)
    assert cache.get("a") is None
    assert not path.exists()


def test_the_oldest_go_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, limit=1000)
    for number, key in enumerate("abc"):
        cache.put(key, bytes(250))
        os.utime(tmp_path / f"{key}.bin", (number, number))
    assert cache.get("a") is not None  # used: now the youngest
    cache.put("d", bytes(250))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert sum(size for _, size, _ in cache.entries()) <= 1000
    cache.put("huge", bytes(2000))
    assert cache.get("huge") is None


def _hammer(folder: Path, worker: int) -> int:
    cache = DiskCache(folder, limit=20_000)
    bad = 0
    for turn in range(60):
        key = str(turn % 7)
        cache.put(key, key.encode() * (1000 + worker))
        found = cache.get(key)
        bad += found is not None and set(found) != {ord(key)}
        if turn % 20 == 19:
            cache.clear()
    return bad


def test_many_processes_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        assert sum(pool.map(_hammer, [tmp_path] * 4, range(4))) == 0
    assert not list(tmp_path.glob("*.part"))


def test_a_cache_that_cannot_be_written_is_empty(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache = DiskCache(blocked / "cache")
    cache.put("a", b"x")
    assert cache.get("a") is None
    assert cache.entries() == []
    assert cache.clear() == 0


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPWELL_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/stepwell")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/stepwell")
    monkeypatch.setenv("STEPWELL_CACHE_DIR", "/mine")
    assert cache_folder() == Path("/mine")


def test_entries_are_plain_files(tmp_path: Path) -> None:
    DiskCache(tmp_path).put("a", b"x")
    (path,) = tmp_path.iterdir()
    assert stat.S_ISREG(path.stat().st_mode)


_LOAD = """
import sys
import stepwell as sw
sw.compile("model half(x: f32[N]) -> f32[N] { x / 2.0 }")
compiler = ("lark", "stepwell.codegen.llvm", "stepwell.ir.loop.core")
print(*(name for name in compiler if name in sys.modules))
"""


def test_a_cached_model_is_loaded_without_the_compiler(tmp_path: Path) -> None:
    """Importing what only compiling needs would take longer than the load."""
    found = []
    for debug in ("1", "0"):  # what is asked to say something compiles in its own process
        environment = {**os.environ, "STEPWELL_CACHE_DIR": str(tmp_path), "STEPWELL_DEBUG": debug}
        done = subprocess.run(
            [sys.executable, "-c", _LOAD], env=environment, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        found.append(done.stdout.split())
    assert found == [["lark", "stepwell.codegen.llvm", "stepwell.ir.loop.core"], []]
