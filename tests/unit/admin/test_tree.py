from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from scstfs.admin import conf, tree
from scstfs.admin.configuration import Item
from scstfs.admin.files import Text
from scstfs.admin.kinds import DEVICE_GROUP, DRIVER, GROUP, HANDLER, TARGET_GROUP
from scstfs.startup.load import commands, look, resume
from scstfs.startup.nodes import NodeFiles
from tests.support.whole import whole

TEXT = """
HANDLER vdisk_nullio {
    DEVICE d {
        usn 1
    }
    DEVICE e
}
TARGET_DRIVER iscsi {
    TARGET iqn.t {
        LUN 0 d {
            read_only 1
        }
        GROUP g {
            LUN 0 d
            INITIATOR iqn.i
        }
    }
}
DEVICE_GROUP dg {
    DEVICE d
    TARGET_GROUP tg {
        group_id 7
        TARGET iqn.t
        TARGET yonder {
            rel_tgt_id 9
        }
    }
}
"""


class WithoutOne(NodeFiles):
    """Files of which one object goes away after its directory was listed."""

    def __init__(self, files: NodeFiles, gone: str, number: int) -> None:
        self.__dict__ = files.__dict__
        self._gone = gone
        self._number = number

    def _check(self, path: str) -> None:
        if f"{path}/".startswith(f"{self._gone}/"):
            raise OSError(self._number, os.strerror(self._number), path)

    def entries(self, directory: str) -> Mapping[str, int]:
        self._check(directory)
        return super().entries(directory)

    def text(self, name: str) -> Text:
        self._check(name)
        return super().text(name)

    def link(self, name: str) -> str:
        self._check(name)
        return super().link(name)


def paths(item: Item) -> set[str]:
    return {each.path for each in item.walk()}


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV])
async def test_what_goes_away_meanwhile_is_left_out(number: int, tmp_path: Path) -> None:
    async with whole(tmp_path) as everything:
        bare = look(everything.tree)
        await resume(everything.tree, commands(bare, conf.parse(TEXT).configuration))
        configured = look(everything.tree)
        assert {DEVICE_GROUP, GROUP, TARGET_GROUP} < {item.kind for item in configured.walk()}
        left_out = [item for item in configured.walk() if item.path not in paths(bare)]
        assert len(left_out) > 8
        for item in left_out:
            files = WithoutOne(NodeFiles(everything.tree), item.path, number)
            found = paths(tree.walk(files))
            if item.kind.children or item.kind.parameters:  # else none of its files is read
                below = {path for path in found if f"{path}/".startswith(f"{item.path}/")}
                assert below == set(), item
            assert paths(configured) - {each.path for each in item.walk()} <= found, item


@pytest.mark.parametrize("kind", [HANDLER, DRIVER])
async def test_a_tree_that_goes_away_is_no_configuration(kind: object, tmp_path: Path) -> None:
    """Otherwise an incomplete configuration would be saved."""
    async with whole(tmp_path) as everything:
        for item in look(everything.tree).walk():
            if item.kind is kind:
                files = WithoutOne(NodeFiles(everything.tree), item.path, errno.ENOENT)
                with pytest.raises(OSError, match="No such file"):
                    tree.walk(files)
