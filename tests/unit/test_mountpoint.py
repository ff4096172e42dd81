"""The mount point's procedure on a real kernel, in private mount namespaces.

A FUSE file system without a daemon stands in for the tree: it is "served" as long as the
descriptor of /dev/fuse is open, and "dead" when that is closed, as after SIGKILL.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scstfs import mountpoint, mounts
from scstfs.errors import ExitStatus, UsageError
from scstfs.mounts import MountFlag
from tests.support.namespace import MS_SHARED, MS_SLAVE, fork, in_namespace, unshare
from tests.support.needs import need_mounts

SYS_KERNEL = "/sys/kernel"
SCST_TGT = "/sys/kernel/scst_tgt"


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()
    if os.path.exists("/sys/module/scst") or os.path.exists(SCST_TGT):
        pytest.skip("needs a machine without SCST")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that does not answer is recognized at once."""
    monkeypatch.setattr(mountpoint, "_ANSWER_PATIENCE", 0.02)


class Tree:
    """A daemon's mount: a FUSE connection without answers."""

    def __init__(self, fstype: str = "fuse.scstfs") -> None:
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        self.fstype = fstype

    def mount(self, path: str) -> None:
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0"
        mounts.mount("scst_tgt", path, self.fstype, MountFlag.NONE, options)

    def kill(self) -> None:
        os.close(self.fd)


def mountinfo() -> str:
    return Path("/proc/self/mountinfo").read_text()


def refusal(path: str, mount: Callable[[str], None]) -> UsageError:
    with pytest.raises(UsageError) as refused:
        mountpoint.attach(path, mount)
    assert "\n" not in refused.value.message
    return refused.value


def test_a_missing_directory_of_sysfs_is_made_and_taken_away() -> None:
    def body() -> None:
        before = mountinfo()
        entries = sorted(os.listdir(SYS_KERNEL))
        mode = os.stat(SYS_KERNEL).st_mode
        place = mountpoint.attach(SCST_TGT, Tree().mount)
        assert sorted(os.listdir(SYS_KERNEL)) == sorted([*entries, "scst_tgt"])
        assert os.stat(SYS_KERNEL).st_mode == mode
        seen = mounts.mount_at(SCST_TGT)
        assert seen is not None
        assert seen.fstype == "fuse.scstfs"
        place.detach()
        assert mountinfo() == before
        assert sorted(os.listdir(SYS_KERNEL)) == entries

    in_namespace(body)


def test_other_entries_stay_readable_and_writable() -> None:
    def body() -> None:
        files = [
            path
            for path in (Path(SYS_KERNEL, name) for name in sorted(os.listdir(SYS_KERNEL)))
            if path.is_file() and os.access(path, os.R_OK)
        ]
        before = {path: (path.stat(), path.read_bytes()) for path in files}
        writable = Path(SYS_KERNEL, "mm/transparent_hugepage/enabled")
        place = mountpoint.attach(SCST_TGT, Tree().mount)
        for path, (stat, data) in before.items():
            assert os.path.samestat(path.stat(), stat), path
            assert len(path.read_bytes()) == len(data), path
        if writable.exists():
            chosen = writable.read_text().split("[")[1].split("]")[0]
            writable.write_text(chosen)
        place.detach()

    in_namespace(body)


def test_nothing_can_be_made_in_the_overlay() -> None:
    def body() -> None:
        place = mountpoint.attach(SCST_TGT, Tree().mount)
        with pytest.raises(OSError, match="Read-only") as refused:
            os.mkdir(SYS_KERNEL + "/other")
        assert refused.value.errno == errno.EROFS
        place.detach()

    in_namespace(body)


def test_an_ordinary_directory_is_just_used(tmp_path: Path) -> None:
    def body() -> None:
        before = mountinfo()
        (tmp_path / "link").symlink_to(tmp_path)
        place = mountpoint.attach(str(tmp_path / "link"), Tree().mount)
        assert place.path == str(tmp_path)
        assert len(mountinfo().splitlines()) == len(before.splitlines()) + 1
        place.detach()
        place.detach()
        assert mountinfo() == before

    in_namespace(body)


def test_a_process_inside_does_not_prevent_the_end(tmp_path: Path) -> None:
    def body() -> None:
        before = mountinfo()
        place = mountpoint.attach(SCST_TGT, Tree().mount)
        fd = os.open(SYS_KERNEL, os.O_PATH)
        os.chdir(SYS_KERNEL)
        place.detach()
        assert mountinfo() == before
        os.close(fd)

    in_namespace(body)


@pytest.mark.parametrize("how", ["attach", "clean"])
def test_what_a_killed_daemon_left_is_repaired(how: str) -> None:
    def body() -> None:
        before = mountinfo()
        tree = Tree()
        mountpoint.attach(SCST_TGT, tree.mount)
        tree.kill()
        with pytest.raises(OSError, match="not connected"):
            os.listdir(SCST_TGT)
        if how == "attach":
            mountpoint.attach(SCST_TGT, Tree().mount).detach()
        else:
            assert mountpoint.clean(SCST_TGT)
            assert not mountpoint.clean(SCST_TGT)
        assert mountinfo() == before

    in_namespace(body)


def test_a_dead_mount_on_an_ordinary_directory_is_repaired(tmp_path: Path) -> None:
    def body() -> None:
        before = mountinfo()
        for _ in range(3):  # several over each other, as by daemons that did not repair
            tree = Tree()
            tree.mount(str(tmp_path))
            tree.kill()
        mountpoint.attach(str(tmp_path), Tree().mount).detach()
        assert mountinfo() == before

    in_namespace(body)


@pytest.mark.parametrize("stage", ["mirror", "make_private", "_remove_workshop"])
def test_a_half_made_overlay_is_removed(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed with the overlay empty, empty and still shared, or in place twice."""

    def killed(*_: object) -> None:
        os._exit(0)

    def attach() -> None:
        owner = mountpoint if hasattr(mountpoint, stage) else mounts
        monkeypatch.setattr(owner, stage, killed)
        mountpoint.attach(SCST_TGT, Tree().mount)

    def body() -> None:
        before = mountinfo()
        fork(attach)()
        source = mountpoint._overlay_name(SYS_KERNEL)
        leftovers = [m.path for m in mounts.table().values() if m.source == source]
        assert leftovers
        assert mountpoint.clean(SCST_TGT)
        assert mountinfo() == before
        assert [path for path in leftovers if os.path.exists(path)] in ([], [SYS_KERNEL])

    in_namespace(body)


@pytest.mark.parametrize("call", ["os.readlink", "scstfs.mounts.bind"])
def test_entries_that_vanish_meanwhile_are_left_out(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for directory in (source, target, source / "directory"):
        directory.mkdir()
    (source / "file").touch()
    (source / "link").symlink_to("file")

    def vanished(path: str, *_: object) -> str:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def body() -> None:
        monkeypatch.setattr(call, vanished)
        mountpoint.mirror(str(source), str(target))
        expected = ["directory", "file"] if call == "os.readlink" else ["link"]
        assert sorted(os.listdir(target)) == expected

    in_namespace(body)


def test_a_served_tree_is_refused_and_untouched() -> None:
    def body() -> None:
        place = mountpoint.attach(SCST_TGT, Tree().mount)
        during = mountinfo()
        assert refusal(SCST_TGT, Tree().mount).status == ExitStatus.MOUNTED
        with pytest.raises(UsageError, match="already served"):
            mountpoint.clean(SCST_TGT)
        with pytest.raises(UsageError, match="already served"):
            mountpoint.check(SCST_TGT)
        assert mountinfo() == during
        place.detach()

    in_namespace(body)


def test_of_two_started_at_once_one_serves() -> None:
    def body() -> None:
        before = mountinfo()
        results: list[mountpoint.MountPoint | UsageError] = []
        start = threading.Barrier(4)

        def mount_slowly(path: str) -> None:
            time.sleep(0.02)
            Tree().mount(path)

        def one() -> None:
            start.wait()
            try:
                results.append(mountpoint.attach(SCST_TGT, mount_slowly))
            except UsageError as error:
                results.append(error)

        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        served = [r for r in results if isinstance(r, mountpoint.MountPoint)]
        refused = [r.status for r in results if isinstance(r, UsageError)]
        assert len(served) == 1
        assert refused == [ExitStatus.MOUNTED] * 3
        served[0].detach()
        assert mountinfo() == before

    in_namespace(body)


def test_a_mount_that_fails_leaves_nothing() -> None:
    def body() -> None:
        before = mountinfo()

        def fails(path: str) -> None:
            assert os.path.isdir(path)
            raise UsageError(ExitStatus.NOT_PERMITTED, "no")

        assert refusal(SCST_TGT, fails).status == ExitStatus.NOT_PERMITTED
        assert mountinfo() == before
        with pytest.raises(RuntimeError):
            mountpoint.attach(SCST_TGT, lambda _: None)
        assert mountinfo() == before

    in_namespace(body)


def test_what_others_mounted_meanwhile_is_kept() -> None:
    def body() -> None:
        place = mountpoint.attach(SCST_TGT, Tree().mount)
        mounts.mount("theirs", SYS_KERNEL + "/debug", "tmpfs", MountFlag.NONE)
        os.mkdir(SYS_KERNEL + "/debug/sub")
        mounts.mount("more", SYS_KERNEL + "/debug/sub", "tmpfs", MountFlag.NONE)
        Path(SYS_KERNEL, "debug/sub/file").write_text("kept")
        place.detach()
        assert Path(SYS_KERNEL, "debug/sub/file").read_text() == "kept"
        assert not os.path.exists(SCST_TGT)
        mounts.detach(SYS_KERNEL + "/debug")

    in_namespace(body)


def test_a_mount_over_ours_is_not_ours_to_remove(tmp_path: Path) -> None:
    def body() -> None:
        place = mountpoint.attach(str(tmp_path), Tree().mount)
        mounts.mount("theirs", str(tmp_path), "tmpfs", MountFlag.NONE)
        place.detach()
        seen = mounts.mount_at(str(tmp_path))
        assert seen is not None
        assert seen.source == "theirs"

    in_namespace(body)


@pytest.mark.parametrize("propagation", [MS_SHARED, MS_SLAVE], ids=["peer", "slave"])
def test_other_namespaces_that_share_mounts_follow(propagation: MountFlag) -> None:
    """As under systemd: every mount is shared, services have slaves of the host's namespace."""

    def body() -> None:
        mounts.mount("", "/", "", MountFlag.REC | MS_SHARED)
        to_child, from_child = os.pipe(), os.pipe()

        def other() -> None:
            unshare(propagation)
            before = mountinfo()
            os.write(from_child[1], b"1")
            os.read(to_child[0], 1)
            assert mounts.mount_at(SCST_TGT) is not None
            os.write(from_child[1], b"2")
            os.read(to_child[0], 1)
            assert not os.path.exists(SCST_TGT)
            assert len(mountinfo().splitlines()) == len(before.splitlines())

        wait = fork(other)
        os.read(from_child[0], 1)
        before = mountinfo()
        place = mountpoint.attach(SCST_TGT, Tree().mount)
        os.write(to_child[1], b"1")
        os.read(from_child[0], 1)
        place.detach()
        os.write(to_child[1], b"2")
        assert wait() == ""
        assert mountinfo() == before

    in_namespace(body)


def test_mounts_shared_with_sysfs_survive_the_end() -> None:
    """debugfs and its like are mounted on entries; the copies must not be peers of them."""

    def body() -> None:
        mounts.mount("", "/", "", MountFlag.REC | MS_SHARED)
        mounts.mount("debugging", SYS_KERNEL + "/debug", "tmpfs", MountFlag.NONE)
        os.mkdir(SYS_KERNEL + "/debug/sub")
        mounts.mount("tracing", SYS_KERNEL + "/debug/sub", "tmpfs", MountFlag.NONE)
        before = mountinfo()
        place = mountpoint.attach(SCST_TGT, Tree().mount)
        assert os.path.isdir(SYS_KERNEL + "/debug/sub")
        place.detach()
        assert mountinfo() == before

    in_namespace(body)


REFUSED = {
    "missing directory": ("missing", ExitStatus.MOUNTPOINT, "does not exist"),
    "missing parent": ("missing/x", ExitStatus.MOUNTPOINT, "No such file or directory"),
    "file": ("file", ExitStatus.MOUNTPOINT, "is not a directory"),
    "below a file": ("file/x", ExitStatus.MOUNTPOINT, "Not a directory"),
    "broken link": ("broken", ExitStatus.MOUNTPOINT, "does not exist"),
    "root directory": ("/", ExitStatus.MOUNTPOINT, "would not be visible"),
}


@pytest.mark.parametrize(("name", "status", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_unusable_mount_points_are_refused(
    tmp_path: Path, name: str, status: ExitStatus, text: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    error = refusal(str(tmp_path / name), lambda _: None)
    assert error.status == status
    assert text in error.message


def test_another_programs_fuse_mount_is_refused(tmp_path: Path) -> None:
    def body() -> None:
        tree = Tree("fuse.sshfs")
        tree.mount(str(tmp_path))
        for kill in (tree.kill, lambda: None):
            error = refusal(str(tmp_path), Tree().mount)
            assert error.status == ExitStatus.MOUNTPOINT
            assert "fuse.sshfs" in error.message
            kill()

    in_namespace(body)


def test_the_kernel_module_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountpoint, "_REAL_SCST", str(tmp_path))
    assert refusal(SCST_TGT, lambda _: None).status == ExitStatus.REAL_SCST


def test_a_system_that_refuses_mounts_is_told_in_one_line() -> None:
    """As in a container without CAP_SYS_ADMIN."""

    def body() -> None:
        mounts.mount("run", "/run", "tmpfs", MountFlag.NONE)
        drop_privileges()
        error = refusal(SCST_TGT, lambda _: None)
        assert error.status == ExitStatus.NOT_PERMITTED
        assert error.message.startswith(f"cannot use {SCST_TGT}: ")
        assert os.listdir("/run") == []

    in_namespace(body)


def drop_privileges() -> None:
    """Stay uid 0 without any capability: capset(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    if libc.capset(header, data) < 0:
        raise OSError(ctypes.get_errno(), "capset")


def test_two_daemons_in_two_namespaces_do_not_meet() -> None:
    def body() -> None:
        before = mountinfo()
        place = mountpoint.attach(SCST_TGT, Tree().mount)

        def nested() -> None:
            unshare()
            mounts.detach(SYS_KERNEL)
            mountpoint.attach(SCST_TGT, Tree().mount).detach()

        assert fork(nested)() == ""
        seen = mounts.mount_at(SCST_TGT)
        assert seen is not None
        place.detach()
        assert mountinfo() == before

    in_namespace(body)


def test_a_busy_directory_is_told_after_a_while(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="busy"), mountpoint._locked(str(tmp_path), 0.03):
        pass
    os.close(fd)
