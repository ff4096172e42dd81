"""Any writes to the tree, in any order: the tree stays consistent."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scstfs.core.session_lifecycle import close_session
from scstfs.drivers.iscsi.accounts import AttributeFile
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import Node, NodeKind
from tests.support import verdicts
from tests.support.recordings import Record
from tests.support.replay import follow, snapshot
from tests.support.sessions import open_session
from tests.support.whole import Whole, whole

USUAL = ("a", "b")
ODD = ("iqn.c", "d/e", "mgmt", "sessions", "luns", ".", "..", "", "n" * 256, "\u00e9")
DIRECTORIES = ("targets/iscsi/a", "targets/iscsi/b", "targets/scst_local/a")

usual = st.sampled_from(USUAL)
names = st.one_of(usual, usual, usual, st.sampled_from(ODD))
directories = st.sampled_from(DIRECTORIES)
luns = st.sampled_from(("0", "1", "0x2", "16383", "16384", "-1", "x", ""))
secrets = st.sampled_from(("123456789012", "short", ""))


@dataclass(frozen=True)
class Write:
    """A write to an attribute that may be there or not."""

    path: str
    text: str


@dataclass(frozen=True)
class WriteToAny:
    """A write to an existing attribute."""

    number: int
    text: str


@dataclass(frozen=True)
class LogIn:
    """An initiator begins a session with an existing iSCSI target."""

    number: int
    initiator: str


Step = Write | WriteToAny | LogIn


def writes(path: str, *words: st.SearchStrategy[str] | str) -> st.SearchStrategy[Step]:
    """Writes to *path* of such words."""
    parts = [st.just(word) if isinstance(word, str) else word for word in words]
    return st.tuples(*parts).map(lambda parts: Write(path, " ".join(parts)))


def in_target(below: str, *words: st.SearchStrategy[str] | str) -> st.SearchStrategy[Step]:
    """Writes to a file below some target."""
    return directories.flatmap(lambda directory: writes(f"{directory}/{below}", *words))


TYPED = (
    writes("handlers/vdisk_nullio/mgmt", "add_device", names),
    writes(
        "handlers/vdisk_nullio/mgmt",
        "add_device",
        names,
        st.sampled_from(
            ("size_mb=1", "read_only=1; tst=0", "blocksize=4096", "bad=1", "size=x", ";")
        ),
    ),
    writes("handlers/vdisk_fileio/mgmt", "add_device", names, "filename=/dev/null"),
    writes("handlers/vcdrom/mgmt", "add_device", names),
    writes("handlers/vcdrom/mgmt", "del_device", names),
    writes("targets/iscsi/mgmt", "add_target", names),
    writes(
        "targets/iscsi/mgmt",
        "add_target",
        names,
        st.sampled_from(("MaxSessions=2", "bad=1", "IncomingUser=a 123456789012; alias=x")),
    ),
    writes("targets/iscsi/mgmt", "del_target", names),
    writes(
        "targets/iscsi/mgmt",
        st.sampled_from(("add_target_attribute", "del_target_attribute")),
        names,
        st.sampled_from(("IncomingUser", "OutgoingUser", "allowed_portal", "IncomingUser7")),
        names,
        secrets,
    ),
    writes("targets/scst_local/mgmt", "add_target", names),
    writes("targets/scst_local/mgmt", "del_target", names),
    writes(
        "targets/scst_local/mgmt",
        st.sampled_from(("add_session", "del_session")),
        names,
        names,
    ),
    in_target("luns/mgmt", st.sampled_from(("add", "replace", "replace_no_ua")), names, luns),
    in_target("luns/mgmt", "add", names, luns, "read_only=1"),
    in_target("luns/mgmt", st.sampled_from(("del", "clear")), luns),
    in_target("ini_groups/mgmt", st.sampled_from(("create", "create", "del")), names),
    in_target("ini_groups/a/initiators/mgmt", st.sampled_from(("add", "del")), names),
    in_target("ini_groups/a/initiators/mgmt", "move", names, names),
    in_target("ini_groups/a/initiators/mgmt", "clear"),
    in_target("ini_groups/a/luns/mgmt", "add", names, luns),
    in_target("ini_groups/a/luns/mgmt", "clear"),
    writes("device_groups/mgmt", st.sampled_from(("create", "create", "del")), names),
    writes("device_groups/a/devices/mgmt", st.sampled_from(("add", "del")), names),
    writes("device_groups/a/target_groups/mgmt", st.sampled_from(("create", "del")), names),
    writes("device_groups/a/target_groups/b/mgmt", st.sampled_from(("add", "del")), names),
)

PREPARED = (
    Write("handlers/vdisk_nullio/mgmt", "add_device a"),
    Write("handlers/vdisk_nullio/mgmt", "add_device b read_only=1"),
    Write("targets/iscsi/mgmt", "add_target a"),
    Write("targets/scst_local/mgmt", "add_target a session_name=a"),
    Write("targets/iscsi/a/luns/mgmt", "add a 0"),
    Write("targets/iscsi/a/ini_groups/mgmt", "create a"),
    Write("targets/scst_local/a/ini_groups/mgmt", "create a"),
    Write("device_groups/mgmt", "create a"),
    Write("device_groups/a/target_groups/mgmt", "create b"),
)
"""What most sequences would need before anything else can happen."""

VALUES = ("0", "1", "2", "-1", "0x10", "65535", "99999999999999999999", "", "a", "standby", "no")

steps = st.lists(
    st.one_of(
        *TYPED,
        st.builds(WriteToAny, st.integers(0, 9999), st.sampled_from(VALUES)),
        st.builds(WriteToAny, st.integers(0, 9999), st.text(max_size=20)),
        st.builds(LogIn, st.integers(0, 9), names),
    ),
    max_size=25,
)

# Entries that may differ although nothing was done


MOVING = re.compile(
    r"^(last_sysfs_mgmt_res|sgv/.*|targets/copy_manager/.*_count(_kb)?|.*/thread_pid)$"
)

# What SCST changes although it refuses.
SLIPS = re.compile(r"^targets/iscsi/(iSNSServer|[^/]+/OutgoingUser\d*|OutgoingUser\d*)$")


def settled_part(everything: Whole) -> dict[str, Record]:
    return {
        path: entry
        for path, entry in snapshot(everything.tree).items()
        if not MOVING.match(path) and not SLIPS.match(path)
    }


async def prepare(everything: Whole) -> None:
    for step in PREPARED:
        assert await take(everything, step)


async def take(everything: Whole, step: Step) -> bool:
    """Do it; whether it was done and not refused."""
    if isinstance(step, LogIn):
        targets = list(everything.iscsi.targets.values())
        if targets and step.initiator:
            open_session(targets[step.number % len(targets)], step.initiator)
        return True
    path = step.path if isinstance(step, Write) else pick(everything, step.number)
    try:
        await everything.write(path, step.text.replace("\0", "") + "\n")
    except SysfsError:
        return False
    return True


def pick(everything: Whole, number: int) -> str:
    """One of the attributes that can be written."""
    found = [
        node.path
        for node in everything.tree.walk()
        if node.kind is NodeKind.ATTRIBUTE and node.mode & 0o222 and node.name != "mgmt"
    ]
    return found[number % len(found)]


def check_everything(everything: Whole) -> None:
    """Every link has a target, everything can be read, no name occurs twice."""
    for node in everything.tree.walk():
        if node.kind is NodeKind.LINK:
            check_link(everything, node)
        elif node.kind is NodeKind.DIRECTORY:
            listed = node.listdir()
            assert len(listed) == len(set(listed)), node
            assert node.subdirectories() == sum(
                child.kind is NodeKind.DIRECTORY for child in node.children()
            )
        elif node.mode & 0o444:
            check_text(node)


def check_link(everything: Whole, node: Node) -> None:
    # The SCSI host of a local session does not exist.
    if node.name != "host":
        follow(everything.tree, node.path)


def check_text(node: Node) -> None:
    if is_stale(node):
        with pytest.raises(SysfsError, match="EINVAL"):
            node.read()
    else:
        assert len(node.read()) < 4096


def is_stale(node: Node) -> bool:
    """What a second OutgoingUser leaves of the first one, in SCST too."""
    file = node.obj
    return isinstance(file, AttributeFile) and all(
        entry.file != file.name for entry in file.entries
    )


async def delete_everything(everything: Whole) -> None:
    """All that was made, by the commands that unmake it."""
    for target in list(everything.iscsi.targets.values()):
        for session in list(target.sessions.values()):
            close_session(session)
        await everything.write("targets/iscsi/mgmt", f"del_target {target.name}\n")
    for name in list(everything.local.targets):
        await everything.write("targets/scst_local/mgmt", f"del_target {name}\n")
    for name in list(everything.scst.devices):
        await everything.write("handlers/vcdrom/mgmt", f"del_device {name}\n")
    for name in list(everything.scst.device_groups):
        await everything.write("device_groups/mgmt", f"del {name}\n")


def is_about_objects(step: Step) -> bool:
    """It makes, changes or deletes something that can be deleted."""
    return not isinstance(step, WriteToAny)


async def random_commands(sequence: Sequence[Step], directory: Path) -> None:
    async with whole(directory) as everything:
        await prepare(everything)
        before = settled_part(everything)
        for step in sequence:
            accepted = await take(everything, step)
            verdicts.check(everything.scst)
            after = settled_part(everything)
            if not accepted:
                assert after == before, step
            before = after
        check_everything(everything)


async def make_and_delete(sequence: Sequence[Step], directory: Path) -> None:
    async with whole(directory) as everything:
        empty = settled_part(everything)
        await prepare(everything)
        for step in sequence:
            await take(everything, step)
            verdicts.check(everything.scst)
        check_everything(everything)
        await delete_everything(everything)
        assert settled_part(everything) == empty
        # Nothing is left behind the tree either.
        assert list(everything.scst.sessions()) == [everything.copy_manager.target.session]
        assert list(everything.scst.targets()) == [everything.copy_manager.target]
        assert not everything.copy_manager.target.default_acg.luns


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(sequence=steps)
def test_refused_commands_change_nothing_and_all_can_be_read(sequence: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        trio.run(random_commands, sequence, Path(directory))


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(sequence=steps.map(lambda sequence: list(filter(is_about_objects, sequence))))
def test_deleting_everything_gives_the_empty_tree(sequence: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        trio.run(make_and_delete, sequence, Path(directory))
