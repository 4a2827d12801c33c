"""Files are written to the side and renamed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell.codegen.objects import write_text
from stepwell.files import write_file


def test_write_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    write_file(path, "one")
    inode = path.stat().st_ino
    write_file(path, b"two")
    assert path.read_text() == "two"
    assert path.stat().st_ino != inode
    assert [p.name for p in tmp_path.iterdir()] == ["f.txt"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_file(tmp_path / "data", "x")
        write_file(tmp_path / "tool", "x", executable=True)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "tool").stat().st_mode) == 0o750


def test_a_link_keeps_pointing(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_file(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_devices_are_written_to() -> None:
    write_file("/dev/null", "gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("write", [write_file, write_text])
def test_a_folder_that_cannot_be_written_names_the_file(write: Callable[[Path, str], None]) -> None:
    with pytest.raises(OSError) as caught:
        write(Path("/proc/here.txt"), "")  # nobody may write there, not even root
    assert caught.value.filename == "/proc/here.txt"


def test_a_missing_folder_is_an_error_with_a_name(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        write_file(tmp_path / "none" / "f", "x")
    assert caught.value.filename
