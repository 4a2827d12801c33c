"""The cache of compiled programs on disk, keyed by content.

In: a key (a hash of everything that the result depends on) and bytes. Out: the same bytes later, in
this process or another.

    cache = DiskCache.default()
    cache.put(key, payload);  cache.get(key)  →  payload, or None

An entry is a file `<key>.bin`: the SHA-256 of the payload, then the payload. It is written beside
and renamed, so readers see a whole file or none; a damaged one is dropped. When all entries exceed
`limit` bytes, those used longest ago go first. Nothing here raises because of the file system: a
cache that can't be read or written is an empty one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

LIMIT = 512 * 1024 * 1024
_DIGEST = 32


def cache_folder() -> Path:
    """`STEPWELL_CACHE_DIR`, else `stepwell` in the XDG cache folder."""
    explicit = os.environ.get("STEPWELL_CACHE_DIR")
    if explicit:
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    if base and os.path.isabs(base):
        return Path(base) / "stepwell"
    return Path(os.path.expanduser("~")) / ".cache" / "stepwell"


@dataclass(frozen=True)
class DiskCache:
    """A folder of entries, at most `limit` bytes of them."""

    folder: Path
    limit: int = LIMIT

    @staticmethod
    def default() -> DiskCache:
        return DiskCache(cache_folder())

    def get(self, key: str) -> bytes | None:
        """The payload stored under `key`; None where there is none or it is damaged."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        payload = data[_DIGEST:]
        if hashlib.sha256(payload).digest() != data[:_DIGEST]:
            _remove(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return payload

    def kept(self, about: str, make: Callable[[], bytes]) -> bytes:
        """What depends on `about` alone: as it was stored, else made and stored."""
        key = hashlib.sha256(about.encode()).hexdigest()
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def put(self, key: str, payload: bytes) -> None:
        """Store `payload` under `key`, and make room."""
        if len(payload) > self.limit:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as file:
                try:
                    file.write(hashlib.sha256(payload).digest())
                    file.write(payload)
                    file.close()
                    os.replace(file.name, self._path(key))
                except BaseException:
                    _remove(Path(file.name))
                    raise
        except OSError:
            return
        self._prune()

    def entries(self) -> list[tuple[Path, int, float]]:
        """(file, bytes, when it was last used) of every entry."""
        return sorted(self._scan(), key=lambda entry: (entry[2], entry[0]))

    def clear(self) -> int:
        """Remove every entry; how many bytes that freed."""
        freed = sum(size for path, size, _ in self.entries() if _remove(path))
        for part in self._files(".part"):
            _remove(part)
        return freed

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.bin"

    def _files(self, suffix: str) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if path.suffix == suffix]
        except OSError:
            return []

    def _scan(self) -> Iterator[tuple[Path, int, float]]:
        for path in self._files(".bin"):
            try:
                status = path.stat()
            except OSError:
                continue
            yield path, status.st_size, status.st_mtime

    def _prune(self) -> None:
        entries = self.entries()
        total = sum(size for _, size, _ in entries)
        for path, size, _ in entries:
            if total <= self.limit:
                return
            if _remove(path):
                total -= size


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
