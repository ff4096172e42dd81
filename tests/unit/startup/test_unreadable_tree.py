from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from scstfs.persist.running import RunningFile
from scstfs.startup.keep import Keeper
from scstfs.startup.load import look
from tests.support.whole import Whole

ADD_USER = "add_attribute IncomingUser me secretsecret12"


def refuse(_files: object) -> Iterator[None]:
    yield None
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.logs("changes of the configuration cannot be kept for the next start: .*")
async def test_a_tree_that_cannot_be_read_holds_no_command_up(
    everything: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RunningFile(tmp_path)
    keeper = Keeper(everything.tree, look(everything.tree), file)
    await keeper.start([])
    with monkeypatch.context() as patched:
        patched.setattr("scstfs.admin.tree.gradually", refuse)
        with trio.fail_after(5):
            # A numbered attribute has the file made anew, for which the tree is read.
            await everything.write("targets/iscsi/mgmt", ADD_USER)
            await everything.write("targets/iscsi/IncomingUser", "you secretsecret12")
    await everything.add_null("disk")
    assert "disk" in str(file.load())
    await keeper.stop()
