"""Text for management commands and attributes: a few objects, and any writes to the whole tree."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Final

import trio
import trio.testing

from fuzz.memory import DIRECTORY
from fuzz.source import Source
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import Node, NodeKind
from tests.support.sessions import open_session
from tests.support.whole import Whole, whole

_STEPS: Final = 40

#: Initial objects that most scripts need: path and text of each write.
_PREPARED: Final = (
    ("handlers/vdisk_nullio/mgmt", "add_device a size_mb=1"),
    ("handlers/vcdrom/mgmt", "add_device c"),
    ("targets/iscsi/mgmt", "add_target a IncomingUser=a 123456789012"),
    ("targets/scst_local/mgmt", "add_target b session_name=b"),
    ("targets/iscsi/a/luns/mgmt", "add a 0"),
    ("targets/iscsi/a/ini_groups/mgmt", "create g"),
    ("targets/iscsi/a/ini_groups/g/luns/mgmt", "add c 0"),
    ("device_groups/mgmt", "create g"),
    ("device_groups/g/target_groups/mgmt", "create g"),
    ("device_groups/g/target_groups/g/mgmt", "add a"),
)

_WORDS: Final = (
    *(b"a", b"b", b"c", b"g", b"0", b"1", b"2", b"-1", b"0x10", b"65536", b"", b"\n", b"!*", b"?"),
    *(b"add", b"del", b"create", b"clear", b"move", b"replace", b"replace_no_ua"),
    *(b"add_device", b"del_device", b"add_target", b"del_target", b"add_session", b"del_session"),
    *(b"add_attribute", b"del_attribute", b"add_target_attribute", b"del_target_attribute"),
    *(b"filename=/dev/null", b"size_mb=2", b"blocksize=4096", b"read_only=1", b"tst=0", b"t=x"),
    *(b"thin_provisioned", b"dif_mode=tgt|scst", b"session_name", b"rel_tgt_id", b"cluster_mode"),
    *(b"IncomingUser", b"OutgoingUser1", b"allowed_portal", b"123456789012", b"QueuedCommands"),
    *(b"active", b"standby", b"transitioning", b"all", b"default", b"value", b"out_of_mem"),
    *(b"Yes", b"CRC32C,None", b"[::1]:3260", b"127.0.0.1 temp", b"localhost AccessControl"),
    *(b"/dev/null", b"/missing", b"per_initiator", b"this_group_only", b"FLAT", b":default:"),
)
_BETWEEN: Final = (b" ", b" ", b"=", b"; ", b"\t", b"\n", b"\0", b"")


def run(data: bytes) -> None:
    """Execute the writes in ``data``: each gives an errno or success; texts stay readable."""
    # Waiting takes no time; work in threads (opening files) is short.
    clock = trio.testing.MockClock(autojump_threshold=0.05)
    with tempfile.TemporaryDirectory(prefix="scstfs-fuzz.", dir=DIRECTORY) as directory:
        trio.run(_script, Source(data), Path(directory), clock=clock)


async def _script(source: Source, directory: Path) -> None:
    async with whole(directory) as everything:
        for path, text in _PREPARED:
            await everything.write(path, f"{text}\n")
        with trio.fail_after(3600):
            for _ in range(_STEPS):
                if not source.more:
                    break
                await _step(everything, source)


async def _step(everything: Whole, source: Source) -> None:
    if source.byte() > 250:
        targets = list(everything.iscsi.targets.values())
        if targets:
            open_session(source.choose(targets), f"iqn.{source.byte() % 4}")
        return
    node = _attribute(everything, source)
    if node is None:
        return
    if node.mode & 0o222:
        try:
            await node.write(_text(source))
        except SysfsError as error:
            _check(error)
    if node.mode & 0o444:
        _read(node)


def _attribute(everything: Whole, source: Source) -> Node | None:
    """Walk down from the root; None if that ends at a link or in an empty directory."""
    node: Node | None = everything.tree.root
    while node is not None and node.kind is NodeKind.DIRECTORY:
        names = node.listdir()
        node = node.lookup(source.choose(names)) if names else None
    return node if node is not None and node.kind is NodeKind.ATTRIBUTE else None


def _text(source: Source) -> bytes:
    """A command of known words, with any bytes between."""
    if source.byte() > 220:
        return source.take(source.byte())
    text = b""
    for _ in range(source.byte() % 8):
        word = source.take(source.byte() % 16) if source.byte() > 220 else source.choose(_WORDS)
        text += word + source.choose(_BETWEEN)
    return text + b"\n" * source.flag()


def _read(node: Node) -> None:
    try:
        assert len(node.read()) <= 4096, node
    except SysfsError as error:
        _check(error)


def _check(error: SysfsError) -> None:
    assert error.errno in errno.errorcode
    assert error.errno != errno.EIO, "a command fails for no reason"
