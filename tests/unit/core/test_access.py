"""LUN sets: what may be added to them."""

from __future__ import annotations

import pytest

from scstfs.core import access
from scstfs.core.errors import AlreadyExists, Refused
from tests.support.target import System


async def test_a_lun_that_is_there_is_not_overwritten(system: System) -> None:
    first, second = await system.add_disk("first"), await system.add_disk("second")
    acg, initiator = system.target.default_acg, system.initiator()
    before = acg.luns[0], initiator.session.tgt_devs[0]
    with pytest.raises(AlreadyExists, match="virt_lun 0 already exists"):
        access.add_lun(acg, second, 0, read_only=False)
    assert (acg.luns[0], initiator.session.tgt_devs[0]) == before
    assert [acg_dev.lun for acg_dev in first.exports.values() if acg_dev.acg is acg] == [0]
    assert [acg_dev.lun for acg_dev in second.exports.values() if acg_dev.acg is acg] == [1]


async def test_a_lun_that_the_target_refuses_is_neither_added_nor_replaced(
    system: System,
) -> None:
    await system.add_disk("plain")
    protected = await system.add("vdisk_nullio", "protected", size_mb=1)
    protected.settings.dif_type = 1
    group = system.group("group")
    with pytest.raises(Refused, match="T10-PI"):
        access.add_lun(group, protected, 0, read_only=False)
    acg = system.target.default_acg
    kept = acg.luns[0]
    with pytest.raises(Refused, match="T10-PI"):
        access.replace_lun(acg, protected, 0, read_only=False, tell=True)
    assert not group.luns
    assert acg.luns[0] is kept
