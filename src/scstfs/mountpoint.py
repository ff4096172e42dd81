"""The directory the tree is mounted on: made, mounted, unmounted and repaired.

An ordinary directory is used as it is. But /sys/kernel/scst_tgt belongs to sysfs, where only the
kernel makes directories. So it does not exist without SCST's modules, but programs need this path.
In this case an *overlay* is put over /sys/kernel:

1. a small tmpfs, mounted out of the way, gets every entry of /sys/kernel bind-mounted into it, with
   all that is mounted there, and an empty directory `scst_tgt`;
2. the tmpfs is mounted over /sys/kernel, in one step, read-only.

All other entries stay the same files, readable and writable. At the end the overlay is detached and
the mount table is as before; mounts that other programs made below it meanwhile are kept.

A daemon that was killed leaves a FUSE mount that answers ENOTCONN, and the overlay. Both are
recognized by their names in the mount table and removed by the next `attach`, or by `clean`.
Everything here happens under a lock on the directory that holds the mount point, so of two
daemons started at once one finds the other serving.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from scstfs import mounts
from scstfs.errors import ExitStatus, UsageError, reason
from scstfs.mounts import Mount, MountFlag

log: Final = logging.getLogger(__name__)

FUSE_SUBTYPE: Final = "scstfs"
"""The FUSE mount option `subtype`; /proc/mounts then shows `fuse.scstfs`, which identifies our
mounts.
"""

_FUSE_TYPE: Final = f"fuse.{FUSE_SUBTYPE}"
_REAL_SCST: Final = "/sys/module/scst"
_SYSFS_MAGIC: Final = 0x62656572

# Seconds. A directory is locked only while mounts are changed, which takes some 10 ms.
_LOCK_PATIENCE: Final = 10.0
_LOCK_PATIENCE_AT_END: Final = 1.0
_LOCK_POLL: Final = 0.02
# How long a FUSE mount may take to answer before it counts as served.
_ANSWER_PATIENCE: Final = 2.0
# The error of statvfs(3) for a FUSE mount whose daemon is gone.
_DEAD: Final = frozenset({errno.ENOTCONN, errno.ECONNABORTED})


class MountPoint:
    """A mounted tree, until `detach`. Made by `attach`."""

    def __init__(self, path: str, mount_id: int, overlay: bool) -> None:
        """Remember what was mounted at `path`, and whether an overlay was made for it."""
        self.path = path
        self._mount_id = mount_id
        self._overlay = overlay
        self._once = threading.Lock()

    def detach(self) -> None:
        """Unmount the tree, even if processes use it, and remove the overlay.

        May be called from any thread, and more than once: only the first call has an effect. Never
        raises: failures are logged, and the next `attach` repairs them.
        """
        if not self._once.acquire(blocking=False):
            return
        parent = os.path.dirname(self.path)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_locked(parent, _LOCK_PATIENCE_AT_END))
            except (OSError, UsageError) as error:
                log.warning("unmounting %s without a lock: %s", self.path, error)
            try:
                seen = mounts.mount_at(self.path)
                if seen is None or seen.id != self._mount_id:
                    log.warning("%s was unmounted or covered by another program", self.path)
                else:
                    _unmount(self.path)
                if self._overlay:
                    _remove_overlay(parent)
            except (OSError, UsageError) as error:
                log.error("cannot unmount %s: %s", self.path, error)


def attach(path: str, mount_filesystem: Callable[[str], None]) -> MountPoint:
    """Make `path` usable as a mount point, with repairs where necessary, and mount on it.

    Args:
        path: where to mount.
        mount_filesystem: mounts a FUSE file system with the option subtype=`FUSE_SUBTYPE` on the
            directory it is given.

    Raises:
        UsageError: the mount point cannot be used, another scstfs serves it, SCST's kernel module
            is loaded, or the system refuses. Nothing is changed then.
    """
    check(path)
    with _prepared(path) as (path, overlay):
        try:
            mount_filesystem(path)
            mount = mounts.mount_at(path)
            if mount is None or mount.fstype != _FUSE_TYPE:
                raise RuntimeError(f"nothing of type {_FUSE_TYPE} was mounted on {path}")
        except BaseException:
            if (mount := mounts.mount_at(path)) is not None and mount.fstype == _FUSE_TYPE:
                _unmount(path)
            if overlay:
                _remove_overlay(os.path.dirname(path))
            raise
    return MountPoint(path, mount.id, overlay)


def check(path: str) -> None:
    """Make the checks of `attach` that protect other users of the path, without touching anything.

    Raises:
        UsageError: another scstfs serves `path`, SCST's kernel module is loaded, or it is the root
            directory.
    """
    if os.path.exists(_REAL_SCST):
        raise UsageError(ExitStatus.REAL_SCST, "the SCST kernel module is loaded: use that instead")
    path = _canonical(path)
    if path == "/":
        raise UsageError(ExitStatus.MOUNTPOINT, "a mount on / would not be visible")
    with _as_usage_errors(path):
        mount = _mount_at(path)
        if mount is not None:
            _refuse_served(mount)


def clean(path: str) -> bool:
    """Remove what a killed daemon left at `path`; say whether there was anything.

    Raises:
        UsageError: a live scstfs serves it, or the system refuses.
    """
    path = _canonical(path)
    changed = False
    with _as_usage_errors(path):
        while True:
            with _locked(os.path.dirname(path)):
                if not _clear(path):
                    return changed
                changed = True


@contextlib.contextmanager
def _prepared(path: str) -> Iterator[tuple[str, bool]]:
    """Yield a free directory to mount on, and whether an overlay has it, under lock."""
    path = _canonical(path)
    parent = os.path.dirname(path)
    with _as_usage_errors(path):
        while True:
            with _locked(parent), contextlib.ExitStack() as stack:
                if _clear(path):
                    continue  # another directory is visible now, and that one is not locked
                overlay = not os.path.isdir(path)
                if overlay:
                    _refuse_overlay(path)
                    stack.enter_context(_overlaid(path))
                yield path, overlay
                return


def _canonical(path: str) -> str:
    """Return `path` absolute and without symbolic links, without accessing a mount on it."""
    parent, name = os.path.split(os.path.abspath(path))
    path = os.path.join(os.path.realpath(parent), name)
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return path
    try:
        # A mount's root is never a link, and a dead FUSE mount cannot say what it is.
        link = mounts.mount_at(path) is None and stat.S_ISLNK(os.fstat(fd).st_mode)
    except OSError:
        return path
    finally:
        os.close(fd)
    return os.path.realpath(path) if link else path


@contextlib.contextmanager
def _as_usage_errors(path: str) -> Iterator[None]:
    """Turn the system's refusals, in here, into ordinary mistakes."""
    try:
        yield
    except PermissionError as error:
        message = f"cannot use {path}: {error.filename}: {reason(error)}"
        raise UsageError(ExitStatus.NOT_PERMITTED, message) from error
    except OSError as error:
        message = f"cannot use {path}: {error.filename}: {reason(error)}"
        raise UsageError(ExitStatus.MOUNTPOINT, message) from error


# --- The lock ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(directory: str, patience: float = _LOCK_PATIENCE) -> Iterator[None]:
    """Hold the lock of what is seen at `directory` now.

    The overlay's root is locked before it becomes visible, so processes that opened /sys/kernel
    before or after that wait, and then check again.
    """
    deadline = time.monotonic() + patience
    while True:
        with _lock(directory, deadline) as locked:
            if os.path.samestat(locked, os.stat(directory)):
                yield
                return


@contextlib.contextmanager
def _lock(directory: str, deadline: float) -> Iterator[os.stat_result]:
    """flock(2) a directory; the lock ends with this process in any case."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"another scstfs is busy with {directory}"
                    raise UsageError(ExitStatus.MOUNTED, message) from None
                time.sleep(_LOCK_POLL)
        yield os.fstat(fd)
    finally:
        os.close(fd)


# --- What is there already --------------------------------------------------------------------


def _clear(path: str) -> bool:
    """Remove what a killed daemon left; say whether anything was removed.

    Raises:
        UsageError: the mount is alive, or not ours.
    """
    parent = os.path.dirname(path)
    changed = False
    while (mount := _mount_at(path)) is not None and mount.fstype.startswith("fuse"):
        if mount.fstype != _FUSE_TYPE:
            message = f"a file system of type {mount.fstype} is mounted on {path}"
            raise UsageError(ExitStatus.MOUNTPOINT, message)
        _refuse_served(mount)
        log.info("removing the mount a killed daemon left at %s", path)
        _unmount(path)
        changed = True
    if _own_overlay(parent):
        log.info("removing the overlay a killed daemon left at %s", parent)
        _remove_overlay(parent)
        changed = True
    for mount in mounts.table().values():
        if mount.source == _overlay_name(parent) and mount.path != parent:
            log.info("removing the half-made overlay a killed daemon left at %s", mount.path)
            _remove_workshop(mount.path)
            changed = True
    return changed


def _mount_at(path: str) -> Mount | None:
    """`mounts.mount_at`, None also if the path does not exist."""
    try:
        return mounts.mount_at(path)
    except FileNotFoundError:
        return None


def _refuse_served(mount: Mount) -> None:
    """Raise UsageError if `mount` is an scstfs that has a daemon."""
    if mount.fstype == _FUSE_TYPE and _answers(mount.path):
        message = f"{mount.path} is already served by a running scstfs"
        raise UsageError(ExitStatus.MOUNTED, message)


def _answers(path: str) -> bool:
    """Tell whether the FUSE mount at `path` has a daemon, even one that does not answer."""
    dead = threading.Event()
    answered = threading.Event()

    def ask() -> None:
        try:
            # Not stat(2), which the kernel may answer from its cache.
            os.statvfs(path)
        except OSError as error:
            if error.errno in _DEAD:
                dead.set()
        answered.set()

    threading.Thread(target=ask, name="probe", daemon=True).start()
    answered.wait(_ANSWER_PATIENCE)
    return not dead.is_set()


def _unmount(path: str) -> None:
    """Take a FUSE mount away, also where only fusermount3(1) may do that for us.

    Raises:
        OSError: the system refuses.
    """
    if os.geteuid() == 0:
        mounts.detach(path)
        return
    done = subprocess.run(
        ["fusermount3", "-u", "-z", path], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise PermissionError(errno.EPERM, done.stderr.strip(), path)


# --- The overlay ------------------------------------------------------------------------------


def mirror(source: str, target: str) -> None:
    """Make every entry of `source` visible in the empty directory `target`, by bind mounts.

    Raises:
        OSError: the system refuses a mount. Entries that vanish meanwhile are left out.
    """
    with os.scandir(source) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            copy = os.path.join(target, entry.name)
            try:
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), copy)
                    continue
                if entry.is_dir(follow_symlinks=False):
                    os.mkdir(copy)
                else:
                    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                mounts.bind(entry.path, copy)
            except FileNotFoundError:
                remove = os.rmdir if os.path.isdir(copy) else os.unlink
                with contextlib.suppress(FileNotFoundError):
                    remove(copy)


def _overlay_name(parent: str) -> str:
    """The `source` of our tmpfs in the mount table, with the directory that it covers."""
    return f"scstfs:{parent}"


def _own_overlay(parent: str) -> Mount | None:
    """Return our overlay if it is visible at `parent`."""
    mount = mounts.mount_at(parent)
    ours = mount and mount.fstype == "tmpfs" and mount.source == _overlay_name(parent)
    return mount if ours else None


def _refuse_overlay(path: str) -> None:
    """Raise UsageError if the user must make the missing `path`."""
    if os.path.lexists(path):
        raise UsageError(ExitStatus.MOUNTPOINT, f"{path} is not a directory")
    if not _is_sysfs(os.path.dirname(path)):
        raise UsageError(ExitStatus.MOUNTPOINT, f"{path} does not exist")


def _is_sysfs(path: str) -> bool:
    buffer = (ctypes.c_long * 32)()  # struct statfs starts with the type, a long
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(path), buffer) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return buffer[0] == _SYSFS_MAGIC


@contextlib.contextmanager
def _overlaid(path: str) -> Iterator[None]:
    """Put the overlay with the missing directory `path` in place; hold its lock inside."""
    parent, name = os.path.split(path)
    flags = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC
    workshop = tempfile.mkdtemp(prefix="scstfs.", dir="/run" if os.path.isdir("/run") else None)
    with contextlib.ExitStack() as stack:
        try:
            mounts.mount(_overlay_name(parent), workshop, "tmpfs", flags, "mode=0755,size=1m")
            stack.enter_context(_lock(workshop, time.monotonic()))
            mounts.make_private(workshop)
            mirror(parent, workshop)
            # The copies are peers of the originals. As long as that is so, every mount or umount on
            # one of them happens on the original, too.
            mounts.make_private(workshop)
            os.mkdir(os.path.join(workshop, name))
            read_only = flags | MountFlag.REMOUNT | MountFlag.BIND | MountFlag.RDONLY
            mounts.mount("", workshop, "", read_only)
            mounts.bind(workshop, parent)
        finally:
            _remove_workshop(workshop)
        yield


def _remove_workshop(path: str) -> None:
    """Remove the place where an overlay was built."""
    with contextlib.suppress(OSError):  # not mounted: an earlier step failed
        mounts.detach(path)
    os.rmdir(path)


def _remove_overlay(parent: str) -> None:
    """Detach the overlay over `parent`, keeping mounts of other programs below it.

    Raises:
        UsageError: a live scstfs is mounted below it.
        OSError: the system refuses.
    """
    overlay = _own_overlay(parent)
    if overlay is None:
        log.warning("the overlay at %s was unmounted or covered by another program", parent)
        return
    table = mounts.table()
    for mount in mounts.subtree(table, overlay.id):
        _refuse_served(mount)
    kept = {mount.path: mounts.clone(mount.path) for mount in _foreign(table, overlay)}
    try:
        mounts.detach(parent)
        for path, fd in kept.items():
            try:
                mounts.attach(fd, path)
            except OSError as error:
                log.warning("%s could not be mounted again: %s", path, reason(error))
    finally:
        for fd in kept.values():
            os.close(fd)


def _foreign(table: mounts.Table, overlay: Mount) -> Iterator[Mount]:
    """Yield the topmost of the mounts below `overlay` that are not copies of what it hides."""
    hidden = table.get(overlay.parent)
    if hidden is None:  # outside of a chroot: nothing can be compared
        return
    # The input of `mirror`: the entries of the directory, and the mounts on them.
    directory = os.path.join(hidden.root, os.path.relpath(overlay.path, hidden.path))
    of_overlay = {mount.id for mount in mounts.subtree(table, overlay.id)}
    originals = {
        (mount.path, mount.device, mount.root)
        for mount in mounts.subtree(table, hidden.id)
        if mount.id not in of_overlay
    }

    def is_copy(mount: Mount) -> bool:
        if mount.parent == overlay.id and mount.device == hidden.device:
            return mount.root == os.path.join(directory, os.path.basename(mount.path))
        return (mount.path, mount.device, mount.root) in originals

    foreign: set[int] = set()
    for mount in mounts.subtree(table, overlay.id):
        if mount.parent in foreign:
            foreign.add(mount.id)
        elif mount.fstype != _FUSE_TYPE and not is_copy(mount):
            foreign.add(mount.id)
            yield mount
