"""Files are written whole or not at all, and never where somebody else wants it."""

import os
import stat
from pathlib import Path

import pytest

from heapwitness.replacing import write_whole

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users")


def test_a_file_keeps_its_mode_and_a_new_one_has_what_the_mask_leaves(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"before")
    old.chmod(0o640)
    before = os.umask(0o077)

    write_whole(old, b"after")
    write_whole(new, b"after")

    os.umask(before)
    assert [path.read_bytes() for path in (old, new)] == [b"after"] * 2
    assert [stat.S_IMODE(path.stat().st_mode) for path in (old, new)] == [0o640, 0o600]
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]


def test_what_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError):
        write_whole(file, b"after")
    assert file.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("new")

    write_whole(tmp_path / "link", b"after")
    write_whole(tmp_path / "dangling", b"after")

    assert (tmp_path / "link").is_symlink() and (tmp_path / "dangling").is_symlink()
    assert [(tmp_path / name).read_bytes() for name in ("file", "new")] == [b"after"] * 2


@needs_root
def test_a_link_that_another_user_laid_where_everybody_may_write_is_not_followed(tmp_path: Path) -> None:
    everybody = tmp_path / "everybody"
    everybody.mkdir()
    everybody.chmod(0o1777)
    (tmp_path / "mine").write_bytes(b"before")
    for name in ("report", "own"):
        (everybody / name).symlink_to(tmp_path / "mine")
    os.lchown(everybody / "report", 65534, 65534)

    with pytest.raises(PermissionError):
        write_whole(everybody / "report", b"after")
    assert (tmp_path / "mine").read_bytes() == b"before"
    write_whole(everybody / "own", b"after")
    assert (tmp_path / "mine").read_bytes() == b"after"


@needs_root
def test_a_file_of_another_user_stays_that_one_s(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")
    os.chown(file, 65534, 65534)

    write_whole(file, b"after")

    assert (file.stat().st_uid, file.stat().st_gid) == (65534, 65534)
