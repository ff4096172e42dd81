"""The tree of this process, as `scstfs.admin` sees a mounted one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from scstfs.admin.files import Text
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import FILE_TYPES, Node, NodeKind, Tree
from scstfs.sysfs.text import decode, encode


def system_error(error: SysfsError) -> OSError:
    """The error that a program outside gets for a refusal, as `Files.write` raises it."""
    found = OSError(error.errno, os.strerror(error.errno))
    if error.reason:
        found.add_note(error.reason)
    return found


class NodeFiles:
    """Reads a tree (`scstfs.admin.files.Reader`).

    The entries of a directory are remembered from the first look, so use it for one pass only.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._directories: dict[str, dict[str, Node]] = {}

    def _children(self, directory: str) -> dict[str, Node]:
        known = self._directories.get(directory)
        if known is None:
            try:
                node = self._tree.resolve(directory) if directory else self._tree.root
                known = {child.name: child for child in node.children()}
            except SysfsError as error:
                raise system_error(error) from None
            self._directories[directory] = known
        return known

    def _node(self, name: str) -> Node:
        directory, _, file = name.rpartition("/")
        found = self._children(directory).get(file)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return found

    def entries(self, directory: str) -> Mapping[str, int]:
        """The names in a directory with their file types."""
        return {name: FILE_TYPES[node.kind] for name, node in self._children(directory).items()}

    def directories(self, directory: str) -> list[str]:
        """The names that are directories."""
        children = self._children(directory).items()
        return [name for name, node in children if node.kind is NodeKind.DIRECTORY]

    def is_writable(self, name: str) -> bool:
        """Return whether its owner may write to it."""
        node = self._node(name)
        return node.kind is not NodeKind.ATTRIBUTE or bool(node.mode & stat.S_IWUSR)

    def is_readable(self, name: str) -> bool:
        """Return whether its owner may read it."""
        return bool(self._node(name).mode & stat.S_IRUSR)

    def is_private(self, name: str) -> bool:
        """Return whether only its owner may read it."""
        return not self._node(name).mode & (stat.S_IRGRP | stat.S_IROTH)

    def text(self, name: str) -> Text:
        """The text of an attribute."""
        try:
            return Text.of(decode(self._node(name).read()))
        except SysfsError as error:
            if error.errno == errno.EINVAL:
                # The file of a user that another one has replaced: there is nothing to keep.
                return Text.of("")
            raise system_error(error) from None

    def link(self, name: str) -> str:
        """The text of a symbolic link."""
        try:
            return self._node(name).readlink()
        except SysfsError as error:
            raise system_error(error) from None


async def write(tree: Tree, path: str, data: str) -> None:
    """Execute one command. Raises OSError as write(2) does."""
    try:
        await tree.resolve(path).write(encode(data))
    except SysfsError as error:
        raise system_error(error) from None
