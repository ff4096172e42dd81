from __future__ import annotations

import os
from pathlib import Path

import pytest

from scstfs import mounts
from scstfs.mounts import Mount, MountFlag
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts

# Lines as in proc(5), with the variable number of optional fields before the dash.
LINES = {
    "plain": (
        b"36 35 98:0 /mnt1 /mnt2 rw,noatime - ext3 /dev/root rw,errors=continue\n",
        Mount(36, 35, "98:0", "/mnt1", "/mnt2", "ext3", "/dev/root"),
    ),
    "optional fields": (
        b"23 27 0:22 / /sys rw shared:4 master:1 - sysfs sysfs rw\n",
        Mount(23, 27, "0:22", "/", "/sys", "sysfs", "sysfs"),
    ),
    "escapes": (
        rb"40 1 0:50 /a\040b /t\011n\012b\134x rw - fuse.x a\040b rw" + b"\n",
        Mount(40, 1, "0:50", "/a b", "/t\tn\nb\\x", "fuse.x", "a b"),
    ),
    "bytes that are no text": (
        b"41 1 0:51 / /\xff rw - tmpfs none rw\n",
        Mount(41, 1, "0:51", "/", "/\udcff", "tmpfs", "none"),
    ),
}


@pytest.mark.parametrize(("line", "mount"), LINES.values(), ids=LINES.keys())
def test_mountinfo_lines_are_parsed(line: bytes, mount: Mount) -> None:
    assert mounts.parse_mountinfo(line) == mount


def test_table_has_the_root_and_proc() -> None:
    types = {mount.path: mount.fstype for mount in mounts.table().values()}
    assert types["/proc"] == "proc"


def test_subtree_yields_parents_before_children() -> None:
    def mount(number: int, parent: int) -> Mount:
        return Mount(number, parent, "0:1", "/", f"/{number}", "tmpfs", "x")

    # The namespace's root is its own parent in some containers.
    table = {n: mount(n, p) for n, p in [(1, 1), (5, 2), (2, 1), (3, 1), (4, 2), (6, 5)]}
    assert [m.id for m in mounts.subtree(table, 2)] == [5, 6, 4]
    assert {m.id for m in mounts.subtree(table, 1)} == {2, 3, 4, 5, 6}


def test_no_mount_is_seen_at_an_ordinary_directory(tmp_path: Path) -> None:
    assert mounts.mount_at(str(tmp_path)) is None


def test_looking_where_nothing_is_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mounts.mount_at(str(tmp_path / "missing"))


def test_refusals_carry_errno_and_path(tmp_path: Path) -> None:
    need_mounts()
    with pytest.raises(OSError, match="Invalid argument") as refusal:
        mounts.detach(str(tmp_path))
    assert refusal.value.filename == str(tmp_path)


def test_the_topmost_of_stacked_mounts_is_seen(tmp_path: Path) -> None:
    need_mounts()

    def body() -> None:
        place = str(tmp_path)
        for name in ("lower", "upper"):
            mounts.mount(name, place, "tmpfs", MountFlag.NONE)
        seen = mounts.mount_at(place)
        assert seen is not None
        assert seen.source == "upper"
        mounts.detach(place)
        seen = mounts.mount_at(place)
        assert seen is not None
        assert seen.source == "lower"
        mounts.detach(place)
        assert mounts.mount_at(place) is None

    in_namespace(body)


def test_a_clone_is_attached_elsewhere_with_all_below_it(tmp_path: Path) -> None:
    need_mounts()

    def body() -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        one.mkdir()
        two.mkdir()
        mounts.mount("outer", str(one), "tmpfs", MountFlag.NONE)
        (one / "sub").mkdir()
        mounts.mount("inner", str(one / "sub"), "tmpfs", MountFlag.NONE)
        (one / "sub" / "file").write_text("kept")
        fd = mounts.clone(str(one))
        mounts.detach(str(one))
        mounts.attach(fd, str(two))
        os.close(fd)
        assert (two / "sub" / "file").read_text() == "kept"
        assert list(one.iterdir()) == []

    in_namespace(body)
