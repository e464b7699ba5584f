"""Folders that cannot be a cache, each in one sentence."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.store import Store
from microscope_tui.store.folder import filesystem, prepare

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime shared:5 - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/me/local\\040disk rw - xfs /dev/sdb1 rw
32 22 0:41 / /data rw - ext4 /dev/sdc1 rw
33 32 0:42 / /data rw - fuse.sshfs me@far: rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return path


def test_a_new_folder_is_made_private_and_an_open_one_is_closed(tmp_path: Path) -> None:
    assert prepare(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    assert prepare(tmp_path / "open").stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "open")
    assert prepare(tmp_path / "link") == tmp_path / "open"


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for read_only in (False, True):
        with pytest.raises(MicroscopeError, match="is not a folder: name another folder with --cache"):
            Store(tmp_path / "file", read_only=read_only)
    with pytest.raises(MicroscopeError, match="cannot be opened"):
        Store(tmp_path / "file" / "below")


def test_a_read_only_folder_is_refused_unless_it_is_only_read(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(MicroscopeError, match="is read-only: see what it holds with --read-only, make it writable or"):
        Store(folder)
    assert Store(folder, read_only=True).jobs() == []


def test_another_users_folder_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    owner = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    for read_only in (False, True):
        with pytest.raises(MicroscopeError, match=f"belongs to the user {owner}"):
            Store(folder, read_only=read_only)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_given_to_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    os.chown(folder, 54321, 54321)
    with pytest.raises(MicroscopeError, match="belongs to the user with number 54321"):
        Store(folder)


def test_file_systems_are_told_by_the_deepest_and_latest_mount(mounts: Path) -> None:
    found = {path: filesystem(Path(path), mounts) for path in ("/tmp", "/home/me", "/homework", "/data/x")}
    assert found == {"/tmp": "ext4", "/home/me": "nfs4", "/homework": "ext4", "/data/x": "fuse.sshfs"}
    assert filesystem(Path("/home/me/local disk/cache"), mounts) == "xfs"
    assert filesystem(Path("/"), mounts.with_name("none")) == ""


def test_a_network_file_system_is_refused_with_advice(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 0:1 / / rw - ext4 a rw\n2 1 0:2 / {tmp_path} rw - nfs4 server:/x rw\n")
    with pytest.raises(MicroscopeError, match=r"network file system \(nfs4\).*on a local disk"):
        prepare(tmp_path / "cache", mounts=mounts)
    assert prepare(tmp_path / "cache", read_only=True, mounts=mounts).name == "cache"


@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_database_is_named_with_its_remedy_whoever_looks(folder: Path, read_only: bool) -> None:
    with Store(folder) as store:
        store.put_blob("a", b"1")
    [database] = folder.glob("**/cache.db")
    database.write_bytes(b"no database" * 1000)
    with (
        pytest.raises(MicroscopeError, match=r"is damaged .*: move the folder .* away"),
        Store(folder, read_only=read_only) as store,
    ):
        store.entries()
