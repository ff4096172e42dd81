"""Secrets of CHAP are in no log, no reason of a refusal, no traceback, and no file that others may
read."""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path

import pyfuse3
import pytest

from scstfs.admin import storing
from scstfs.drivers.iscsi.accounts import AccountEntry
from scstfs.fuse.operations import Operations
from scstfs.persist import durable_files
from scstfs.persist.running import RunningFile
from scstfs.sysfs.refusals import XATTR
from scstfs.sysfs.secrets_written import hide_words, secret_words
from tests.support.whole import Whole

SECRET = "Sesame-öffne-dich"
TARGET = "iqn.2007-05.com.example:t"
MGMT = "targets/iscsi/mgmt"

COMMANDS = tuple(
    [MGMT, " ".join(words)]
    for words in itertools.chain(
        *(
            [[*words, SECRET], [*words, SECRET, "more"]]
            for action in ("add_attribute", "del_attribute", "nonsense")
            for words in itertools.permutations((action, "IncomingUser", "joe"))
        ),
        [
            ["add_target_attribute", TARGET, kind, "joe", *rest]
            for kind in ("IncomingUser", "OutgoingUser", "OutgoingUser ", "Nonsense")
            for rest in ([SECRET], [SECRET, SECRET], [SECRET, "more"], ["short", SECRET])
        ],
        [["add_target", "iqn.2007-05.com.example:u", f"{kind}=joe", SECRET] for kind in "aA"],
        [["add_target", "iqn.2007-05.com.example:u", "IncomingUser", "=", "joe", SECRET]],
        [["add_target_attribute", "nonesuch", "IncomingUser", "joe", SECRET]],
        [["del_target_attribute", TARGET, "IncomingUser", "joe", SECRET]],
    )
)
"""Files, and commands that are wrong in all kinds of ways."""


async def written(everything: Whole, path: str, text: str) -> None:
    """Write as FUSE does."""
    operations = Operations(everything.tree)
    inode = pyfuse3.ROOT_INODE
    ctx = pyfuse3.RequestContext()
    for name in path.split("/"):
        inode = (await operations.lookup(inode, name.encode(), ctx)).st_ino
    info = await operations.open(inode, os.O_WRONLY, ctx)
    assert info.fh is not None
    try:
        await operations.write(info.fh, 0, text.encode())
    except pyfuse3.FUSEError:
        reason = await operations.getxattr(inode, XATTR.encode(), ctx)
        assert SECRET not in reason.decode()


async def test_refused_commands_do_not_tell(
    everything: Whole, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "scstfs")
    await everything.write(MGMT, f"add_target {TARGET}")
    for path, text in COMMANDS:
        await written(everything, path, text)
    for kind in ("IncomingUser", "OutgoingUser"):
        await everything.write(MGMT, f"add_attribute {kind} jim {SECRET}")
        path = f"targets/iscsi/{kind}"
        for text in (SECRET, f"{SECRET} x", f"joe {SECRET} more", f"joe {SECRET}\0", f" {SECRET}"):
            await written(everything, path, text)
    assert "EINVAL" in caplog.text
    assert SECRET not in caplog.text
    assert "Sesame" not in caplog.text


def test_a_bug_does_not_tell() -> None:
    def explode(text: str) -> str:
        raise ValueError(f"cannot take {text!r}", text.encode())

    words = secret_words("mgmt", 0o644, f"add_attribute IncomingUser joe {SECRET}".encode())
    assert words == [SECRET]
    assert secret_words("IncomingUser", 0o600, f"joe {SECRET}".encode()) == [SECRET]
    assert secret_words("filename", 0o644, b"/some/file") == []
    with pytest.raises(ValueError, match="cannot take") as caught:
        explode(f"joe {SECRET}")
    text = hide_words(repr(caught.value) + str(caught.value), words)
    assert "Sesame" not in text
    assert "cannot take 'joe ****'" in text


def test_a_representation_does_not_tell() -> None:
    assert SECRET not in repr(AccountEntry("IncomingUser", "joe", SECRET))


@pytest.mark.parametrize("left", [None, 0o644])
def test_files_with_secrets_are_for_their_owner(tmp_path: Path, left: int | None) -> None:
    """Even if an earlier write was interrupted, and left a file with another mode."""
    running = RunningFile(tmp_path)
    saved = tmp_path / "scst.conf"
    if left is not None:
        for name in ("running.new", "scst.conf.new"):
            (tmp_path / name).touch(left)
    mask = os.umask(0)
    try:
        running.replace([("targets/iscsi/mgmt", SECRET)])
        running.append([("targets/iscsi/mgmt", SECRET)])
        running.stop()
        storing.write_text(str(saved), SECRET)
        durable_files.write(tmp_path / "other", b"", mode=0o600)
    finally:
        os.umask(mask)
    for path in (running.stopped, saved, tmp_path / "other"):
        assert path.stat().st_mode & 0o777 == 0o600
