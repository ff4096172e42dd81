"""pyfuse3's request handlers over a `scstfs.sysfs.node.Tree`, behaving as the kernel's sysfs does.

The rules of a mounted tree, all of them here:

- The kernel keeps names, absent ones too, and attributes until a notice says that they changed
  (`notices`). The notice comes before the answer to the write(2) that changed them. The kernel
  looks up names that change without a write (sessions) each time.
- It keeps no texts: files are opened with direct I/O. Closing a file sends no request.
- stat(2) shows 4096 bytes for every attribute. Modes apply to root, too.
- A read at offset 0 renders the text, the reads that continue it get the rest of that text.
- One write(2) is one command; its result is final when it returns.
- Truncating an attribute succeeds and does nothing; nothing can be made, removed or renamed.
- An open file whose object is gone gives ENODEV; an open directory is then empty.

A handler that raises anything but FUSEError would end pyfuse3's main loop and with it the daemon,
so every handler does its work inside `Operations._guard`.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, NamedTuple

import pyfuse3

from scstfs.fuse import request_loop
from scstfs.fuse.inodes import Inode, InodeStatistics, InodeTable, Listing
from scstfs.fuse.notices import Notices
from scstfs.fuse.request_loop import RequestWait
from scstfs.printable import printable
from scstfs.sysfs import bulk
from scstfs.sysfs.directory import EXTENDED
from scstfs.sysfs.errors import SysfsError, removed
from scstfs.sysfs.node import FILE_TYPES, Node, NodeKind, Tree
from scstfs.sysfs.refusals import XATTR
from scstfs.sysfs.secrets_written import hide_words, secret_words
from scstfs.sysfs.text import NAME_MAX, PAGE_SIZE, decode, encode

MOUNT_OPTIONS: Final = frozenset(
    {
        # All users may access it, as in sysfs; the kernel checks modes and owners as for any file.
        "allow_other",
        "default_permissions",
        # As /proc/mounts shows sysfs, with our names: "scst_tgt ... fuse.scstfs nosuid,...".
        "fsname=scst_tgt",
        "nosuid",
        "nodev",
        "noexec",
    }
)
"""For `pyfuse3.init`. max_read and max_write stay at libfuse's defaults (a mebibyte), so that a
write(2) that hands over a full page and more arrives as one request."""

_KEPT: Final = 1e8
"""Seconds for which the kernel keeps names and attributes whose changes it is told: for ever."""

_ROOT_KEPT: Final = 0.1
"""Seconds for which it keeps the attributes of the root, which never change. All paths lead through
the root, so the tree of a killed daemon soon shows that it is dead.
"""

_DOTS: Final = 2
"""Entries at the start of each listing for which the kernel counts no lookup."""

_ENTRIES: Final = bulk.XATTR.encode()
_LAST_ERROR: Final = XATTR.encode()
_EXTENDED: Final = EXTENDED.encode()
_ACL_NAMES: Final = frozenset({b"system.posix_acl_access", b"system.posix_acl_default"})

_Reply = Callable[[bytes, pyfuse3.EntryAttributes, int], bool]
"""Name, attributes, position behind it -> whether it fitted into the answer."""


@dataclass(slots=True, eq=False)
class _OpenFile:
    """An open attribute: its text as rendered, and where the next read continues it."""

    node: Node
    text: bytes = b""
    position: int = -1


@dataclass(slots=True, eq=False)
class _OpenDirectory:
    """An open directory: its entries when it was last read from the start."""

    inode: Inode
    listing: Listing


class FuseStatistics(NamedTuple):
    """Counts of what the file system holds for the kernel."""

    inodes: InodeStatistics
    files: int
    directories: int


def _absent() -> pyfuse3.EntryAttributes:
    """The answer that makes the kernel remember that a name does not exist."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = pyfuse3.InodeT(0)
    entry.entry_timeout = _KEPT
    return entry


_ABSENT: Final = _absent()


class _Guard:
    """A context that raises only FUSEError (and cancellation, which is not an Exception)."""

    __slots__ = ("_logger", "_node", "_operation", "_written")

    def __init__(
        self, logger: logging.Logger, operation: str, node: Node | None, written: bytes = b""
    ) -> None:
        self._logger = logger
        self._operation = operation
        self._node = node
        self._written = written

    def __enter__(self) -> None:
        """Does nothing before, nor after success."""

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Translate *error*."""
        if not isinstance(error, Exception) or isinstance(error, pyfuse3.FUSEError):
            return
        path = "" if self._node is None else self._node.path
        if isinstance(error, SysfsError):
            if error.reason:
                self._logger.info("%s", printable(f"{self._operation} {path}: {error}"))
            raise pyfuse3.FUSEError(error.errno) from None
        self._logger.error(
            "%s\n%s", printable(f"Internal error: {self._operation} {path}"), self._traceback(error)
        )
        raise pyfuse3.FUSEError(errno.EIO) from None

    def _traceback(self, error: Exception) -> str:
        """The traceback, without secrets that were written: a message may quote them."""
        text = "".join(traceback.format_exception(error)).rstrip()
        if self._node is None:
            return text
        return hide_words(text, secret_words(self._node.name, self._node.mode, self._written))


class Operations(pyfuse3.Operations):
    """A mounted tree."""

    supports_dot_lookup = False
    enable_writeback_cache = False
    enable_acl = False

    def __init__(
        self,
        tree: Tree,
        logger: logging.Logger | None = None,
        notices: Notices | None = None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Show *tree*, which belongs to *owner*: a user and a group, by default our own.

        *logger* gets the reasons of refusals (INFO) and tracebacks (ERROR). Tests replace
        *notices*.
        """
        super().__init__()
        self._notices = Notices() if notices is None else notices
        self._logger = logging.getLogger("scstfs.fuse") if logger is None else logger
        self._inodes = InodeTable(tree.root, time.time_ns(), self._names_changed, owner)
        self._has_changed_modes = False
        self._files: dict[int, _OpenFile] = {}
        self._directories: dict[int, _OpenDirectory] = {}
        self._last_handle = 0

    def statistics(self) -> FuseStatistics:
        """Counts of inodes and handles, for tests and diagnostics."""
        return FuseStatistics(self._inodes.statistics(), len(self._files), len(self._directories))

    async def answer(self, wait: RequestWait) -> None:
        """Answer the kernel's requests until the tree is unmounted."""
        with self._notices.delivering():
            await request_loop.answer(wait)

    def _names_changed(self, directory: Inode, names: Iterable[str]) -> None:
        for name in names:
            self._notices.name_changed(directory.number, encode(name))
        # Its link count includes subdirectories.
        self._notices.attributes_changed(directory.number)

    # --- the guard, and what the handlers share -------------------------------------------------

    def _guard(self, operation: str, node: Node | None = None, written: bytes = b"") -> _Guard:
        return _Guard(self._logger, operation, node, written)

    @contextmanager
    def _aside(self, operation: str) -> Iterator[None]:
        """A guard for work whose errors must not fail the handler."""
        try:
            with self._guard(operation):
                yield
        except pyfuse3.FUSEError:
            pass  # logged; the caller gets no answer in any case

    def _inode(self, number: int) -> Inode:
        inode = self._inodes.get(number)
        if inode is None:
            raise SysfsError(errno.ESTALE, f"inode {number} is not known")
        return inode

    def _new_handle(self) -> int:
        self._last_handle += 1
        return self._last_handle

    def _attributes(self, inode: Inode) -> pyfuse3.EntryAttributes:
        """The attributes of *inode* for stat(2), and how long the kernel may keep them and its
        name.
        """
        node = inode.node
        if inode.entry is None or node.is_volatile:
            inode.entry = self._examine(inode)
        return inode.entry

    def _examine(self, inode: Inode) -> pyfuse3.EntryAttributes:
        node = inode.node
        kind = node.kind
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode.number
        entry.entry_timeout = _KEPT if node.parent and node.parent.may_keep(node.name) else 0
        entry.attr_timeout = 0 if node.is_volatile else _KEPT
        if inode is self._inodes.root:
            entry.attr_timeout = _ROOT_KEPT
        entry.st_mode = FILE_TYPES[kind] | inode.mode
        entry.st_nlink = 2 + node.subdirectories() if kind is NodeKind.DIRECTORY else 1
        entry.st_uid = inode.uid
        entry.st_gid = inode.gid
        entry.st_size = PAGE_SIZE if kind is NodeKind.ATTRIBUTE else 0
        entry.st_blksize = PAGE_SIZE
        entry.st_atime_ns = inode.atime_ns
        entry.st_mtime_ns = inode.mtime_ns
        entry.st_ctime_ns = inode.ctime_ns
        return entry

    # --- names and attributes of inodes ---------------------------------------------------------

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Find *name*; the kernel then counts one more lookup of its inode."""
        with self._guard("lookup"):
            parent, text = self._inode(parent_inode).node, decode(name)
            node = parent.lookup(text)
            if node is None:
                if parent.may_keep(text) and parent.alive():
                    return _ABSENT
                raise SysfsError(errno.ENOENT)
            inode = self._inodes.intern(node)
            entry = self._attributes(inode)
            inode.lookups += 1
            return entry

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Take lookups back. FORGET has no answer, so errors are not reported."""
        for number, lookups in inode_list:
            with self._aside("forget"):
                self._inodes.forget(number, lookups)

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """stat(2); also for open files whose object is gone, as in sysfs."""
        with self._guard("getattr"):
            return self._attributes(self._inode(inode))

    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """truncate(2) does nothing; chmod, chown and utimes last as long as the object."""
        with self._guard("setattr"):
            known = self._inode(inode)
            if fields.update_mode:
                known.mode = stat.S_IMODE(attr.st_mode)
                self._has_changed_modes = True
            if fields.update_uid:
                known.uid = attr.st_uid
            if fields.update_gid:
                known.gid = attr.st_gid
            # The kernel sends times with a truncation; those are no utimes(2).
            if fields.update_atime and not fields.update_size:
                known.atime_ns = attr.st_atime_ns
            if fields.update_mtime and not fields.update_size:
                known.mtime_ns = attr.st_mtime_ns
            if not fields.update_size:
                known.ctime_ns = time.time_ns()
                known.changed = True
                known.entry = None
            return self._attributes(known)

    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """The present text of a link."""
        with self._guard("readlink"):
            return encode(self._inode(inode).node.readlink())

    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        """access(2), for mounts without default_permissions (with them the kernel decides)."""
        with self._guard("access"):
            known = self._inode(inode)
            if ctx.uid == 0:
                return True
            granted = known.mode & 0o7
            if ctx.uid == known.uid:
                granted = known.mode >> 6 & 0o7
            elif ctx.gid == known.gid:
                granted = known.mode >> 3 & 0o7
            return not mode & 0o7 & ~granted

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """As sysfs: no blocks, no files, names of 255 bytes."""
        with self._guard("statfs"):
            data = pyfuse3.StatvfsData()
            data.f_bsize = PAGE_SIZE
            data.f_frsize = PAGE_SIZE
            data.f_namemax = NAME_MAX
            return data

    # --- attributes -----------------------------------------------------------------------------

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open an attribute. EACCES if the mode forbids it, for root too; O_TRUNC does nothing."""
        with self._guard("open"):
            known = self._inode(inode)
            if flags & os.O_DIRECT:
                raise SysfsError(errno.EINVAL)
            access = flags & os.O_ACCMODE
            reads, writes = access != os.O_WRONLY, access != os.O_RDONLY
            if (reads and not known.mode & 0o444) or (writes and not known.mode & 0o222):
                raise SysfsError(errno.EACCES)
            if not known.node.alive():
                raise removed()
            handle = self._new_handle()
            self._files[handle] = _OpenFile(known.node)
            return pyfuse3.FileInfo(fh=handle, direct_io=True, keep_cache=False)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """At most *size* bytes of the text from *off*.

        seq_file's rule: the text is rendered at offset 0 and wherever a read does not continue the
        one before it, so a program that reads to the end sees one consistent text.
        """
        file = self._files.get(fh)
        node = None if file is None else file.node
        with self._guard("read", node):
            if file is None:
                raise SysfsError(errno.EBADF)
            if off == 0 or off != file.position:
                file.text = file.node.read()
            elif off >= len(file.text) and not file.node.alive():
                raise removed()
            data = file.text[off : off + size]
            file.position = off + len(data)
            return data

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Execute one command. The offset is ignored, as in sysfs."""
        file = self._files.get(fh)
        node = None if file is None else file.node
        with self._guard("write", node, buf):
            if file is None:
                raise SysfsError(errno.EBADF)
            try:
                return await file.node.write(buf)
            finally:
                # Answer only when the kernel no longer shows the old state.
                await self._notices.arrived()

    async def flush(self, fh: int) -> None:
        """ENOSYS: the kernel then sends no more requests when a descriptor is closed."""
        raise pyfuse3.FUSEError(errno.ENOSYS)

    async def release(self, fh: int) -> None:
        """The last descriptor was closed. Nothing is refused here: write(2) has reported all
        errors.
        """
        with self._guard("release"):
            self._files.pop(fh, None)

    # --- directories ----------------------------------------------------------------------------

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """Open a directory; one whose object is gone is empty."""
        with self._guard("opendir"):
            handle = self._new_handle()
            self._directories[handle] = _OpenDirectory(self._inode(inode), [])
            return handle

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries from *start_id* on.

        The names are those at the time of the read from the start, without those removed since.
        Names added since are not shown, and none is shown twice or skipped.
        """
        directory = self._directories.get(fh)
        node = None if directory is None else directory.inode.node
        with self._guard("readdir", node):
            if directory is None:
                raise SysfsError(errno.EBADF)
            if start_id == 0:
                directory.listing = self._list(directory.inode)
            self._reply_entries(directory, start_id, partial(pyfuse3.readdir_reply, token))

    def _list(self, directory: Inode) -> Listing:
        node = directory.node
        if directory.listing is None or node.is_volatile:
            directory.listing = [(b".", node), (b"..", node.parent or node)]
            directory.listing += [(encode(child.name), child) for child in node.children()]
        return directory.listing

    def _reply_entries(self, directory: _OpenDirectory, start_id: int, reply: _Reply) -> None:
        counted: list[Inode] = []
        inode, listing = directory.inode, directory.listing
        is_unchanged = listing is inode.listing and not inode.node.is_volatile
        try:
            for next_id, (name, node) in enumerate(listing[start_id:], start_id + 1):
                if not is_unchanged and not node.alive():
                    continue
                inode = self._inodes.intern(node)
                accepted = reply(name, self._attributes(inode), next_id)
                if accepted and next_id > _DOTS:
                    inode.lookups += 1
                    counted.append(inode)
                self._inodes.release(inode)
                if not accepted:
                    return
        except Exception:
            # The kernel gets an error instead of the entries, so it will not send FORGET for them.
            for inode in counted:
                self._inodes.forget(inode.number, 1)
            raise

    async def releasedir(self, fh: int) -> None:
        """The last descriptor was closed."""
        with self._guard("releasedir"):
            self._directories.pop(fh, None)

    # --- what sysfs does not do -----------------------------------------------------------------

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """open(2) with O_CREAT of a name that does not exist."""
        raise pyfuse3.FUSEError(errno.EACCES)

    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """A regular file is refused as by `create`, anything else with EPERM."""
        raise pyfuse3.FUSEError(errno.EACCES if stat.S_ISREG(mode) else errno.EPERM)

    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """EPERM."""
        raise pyfuse3.FUSEError(errno.EPERM)

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """EPERM."""
        raise pyfuse3.FUSEError(errno.EPERM)

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """EPERM."""
        raise pyfuse3.FUSEError(errno.EPERM)

    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """EPERM."""
        raise pyfuse3.FUSEError(errno.EPERM)

    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """EPERM."""
        raise pyfuse3.FUSEError(errno.EPERM)

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        """EPERM, or EINVAL for renameat2(2)'s flags."""
        raise pyfuse3.FUSEError(errno.EINVAL if flags else errno.EPERM)

    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """The reason of the last refused write; all entries of a directory, and what else its type
        has, for root and for the user that has mounted the tree.

        Access control lists are not supported.
        """
        if name == _ENTRIES and ctx.uid == 0:
            with self._guard("getxattr"):
                node = self._inode(inode).node
                if node.kind is NodeKind.DIRECTORY:
                    told = bulk.entries(node, self._mode)
                    if told is None:
                        raise SysfsError(errno.E2BIG)
                    return told
        if name.startswith(_EXTENDED) and ctx.uid in (0, os.geteuid()):
            with self._guard("getxattr"):
                text = self._inode(inode).node.extended(os.fsdecode(name).removeprefix(EXTENDED))
            if text is not None:
                return encode(text)
        if name == _LAST_ERROR:
            with self._guard("getxattr"):
                node = self._inode(inode).node
                refusal = node.tree.refusals.last(node.path)
            if refusal is not None:
                return encode(refusal)
        raise pyfuse3.FUSEError(errno.ENOTSUP if name in _ACL_NAMES else errno.ENODATA)

    def _mode(self, node: Node) -> int:
        """The permission bits, including changes by chmod."""
        known = self._inodes.find(node) if self._has_changed_modes else None
        return node.mode if known is None else known.mode

    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        """Empty: programs should neither copy nor show them."""
        return []

    async def setxattr(
        self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        """ENOTSUP."""
        raise pyfuse3.FUSEError(errno.ENOTSUP)

    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """ENOTSUP."""
        raise pyfuse3.FUSEError(errno.ENOTSUP)
