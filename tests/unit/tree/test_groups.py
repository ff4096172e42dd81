from __future__ import annotations

from functools import partial

import pytest

from scstfs.core.target import BlackHole
from scstfs.scsi.sense import decode
from tests.support.sessions import open_session
from tests.support.whole import Whole

TARGET = "targets/iscsi/iqn.t"
GROUPS = f"{TARGET}/ini_groups"


@pytest.fixture
async def target(everything: Whole) -> Whole:
    """A target with the groups G, which knows iqn.a*, and H."""
    await everything.add_target()
    for name in ("G", "H"):
        await everything.write(f"{GROUPS}/mgmt", f"create {name}\n")
    await everything.write(f"{GROUPS}/G/initiators/mgmt", "add iqn.a*\n")
    return everything


# Attributes that a group has in common with a target


@pytest.mark.parametrize("directory", [TARGET, f"{GROUPS}/G"], ids=["target", "group"])
@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("addr_method", "FLAT\n", "FLAT\n[key]\n"),
        ("addr_method", "lun\n", "LUN\n[key]\n"),
        ("addr_method", "f", "FLAT\n[key]\n"),
        ("addr_method", "PERIPHERAL\n", "PERIPHERAL\n"),
        ("io_grouping_type", "never\n", "never\n[key]\n"),
        ("io_grouping_type", "THIS_GROUP_ONLY\n", "this_group_only\n[key]\n"),
        ("io_grouping_type", "17\n", "17\n[key]\n"),
        ("io_grouping_type", "auto\n", "auto\n"),
        ("black_hole", "4 and more\n", "4\n"),
        ("cpu_mask", "1\n", "1\n[key]\n"),
        ("cpu_mask", "3\n", "3\n"),
        ("cpu_mask", "0\n", "0\n[key]\n"),
    ],
)
async def test_what_is_written_is_read(
    target: Whole, directory: str, name: str, text: str, shown: str
) -> None:
    await target.check_rows(directory, [(name, text, shown)])
    assert target.result == "0"


@pytest.mark.parametrize("directory", [TARGET, f"{GROUPS}/G"], ids=["target", "group"])
@pytest.mark.parametrize(
    ("name", "text", "refusal"),
    [
        ("addr_method", "other\n", "EINVAL"),
        ("io_grouping_type", "other\n", "EINVAL"),
        ("io_grouping_type", "0\n", "EINVAL"),
        ("io_grouping_type", "-1\n", "EINVAL"),
        ("black_hole", "5\n", "EINVAL"),
        ("cpu_mask", "4\n", "EOVERFLOW"),
        ("cpu_mask", "x\n", "EINVAL"),
    ],
)
async def test_what_is_refused_changes_nothing(
    target: Whole, directory: str, name: str, text: str, refusal: str
) -> None:
    await target.check_rows(directory, [(name, text, refusal)])


async def test_a_black_hole_swallows_commands_of_sessions_that_are_there(target: Whole) -> None:
    await target.add_null("null1")
    await target.write(f"{TARGET}/luns/mgmt", "add null1 0\n")
    session, _ = open_session(target.iscsi.targets["iqn.t"], "iqn.me")
    tgt_dev = session.tgt_devs[0]
    tgt_dev.take_unit_attention()
    assert tgt_dev.quick.read is not None
    await target.write(f"{TARGET}/black_hole", "1\n")
    assert session.acg.black_hole is BlackHole.COMMANDS
    assert tgt_dev.quick.read is None
    await target.write(f"{TARGET}/black_hole", "0\n")
    assert tgt_dev.quick.read is not None


async def test_threads_move_to_other_cpus(target: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    await target.add_null("null1")
    await target.write(f"{TARGET}/luns/mgmt", "add null1 0\n")
    session, _ = open_session(target.iscsi.targets["iqn.t"], "iqn.me")
    placed: list[object] = []
    monkeypatch.setattr(session.tgt_devs[0].pool, "set_cpus", placed.append)
    await target.write(f"{TARGET}/cpu_mask", "2\n")
    assert placed == [[1]]


async def test_sessions_of_a_group_are_closed_when_it_moves(target: Whole) -> None:
    closed: list[str] = []
    for name in ("iqn.a", "iqn.b"):
        _, nexus = open_session(target.iscsi.targets["iqn.t"], name)
        nexus.on_close = partial(closed.append, name)
    await target.write(f"{GROUPS}/G/cpu_mask", "3\n")
    assert closed == []
    await target.write(f"{GROUPS}/G/cpu_mask", "1\n")
    assert closed == ["iqn.a"]


# Groups


@pytest.mark.parametrize(
    ("command", "groups"),
    [
        ("create I", ["G", "H", "I"]),
        ("CREATE I and more", ["G", "H", "I"]),
        ("create a/b", ["G", "H", "a!b"]),
        ("del H", ["G"]),
        ("del G", ["H"]),
    ],
)
async def test_groups_come_and_go(target: Whole, command: str, groups: list[str]) -> None:
    await target.write(f"{GROUPS}/mgmt", f"{command}\n")
    assert target.names(GROUPS) == sorted((*groups, "mgmt"))


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        ("", "EINVAL"),
        ("nonsense I", "EINVAL"),
        ("create", "EINVAL"),
        ("create .", "EINVAL"),
        ("create ..", "EINVAL"),
        (f"create {'n' * 256}", "EINVAL"),
        ("create mgmt", "EEXIST"),
        ("create G", "EEXIST"),
        ("del", "EINVAL"),
        ("del I", "EINVAL"),
    ],
)
async def test_groups_that_are_refused(target: Whole, command: str, refusal: str) -> None:
    assert await target.refusal(f"{GROUPS}/mgmt", f"{command}\n") == refusal
    assert target.names(GROUPS) == ["G", "H", "mgmt"]


async def test_groups_in_use_stay(target: Whole) -> None:
    open_session(target.iscsi.targets["iqn.t"], "iqn.alice")
    assert await target.refusal(f"{GROUPS}/mgmt", "del G\n") == "EBUSY"
    assert target.names(GROUPS) == ["G", "H", "mgmt"]


# Initiators


@pytest.mark.parametrize(
    ("command", "in_g", "in_h"),
    [
        ("add iqn.b", ["iqn.a*", "iqn.b"], []),
        ("del iqn.a*", [], []),
        ("clear", [], []),
        ("move iqn.a* H", [], ["iqn.a*"]),
    ],
)
async def test_initiators_come_and_go(
    target: Whole, command: str, in_g: list[str], in_h: list[str]
) -> None:
    await target.write(f"{GROUPS}/G/initiators/mgmt", f"{command}\n")
    assert target.names(f"{GROUPS}/G/initiators") == [*in_g, "mgmt"]
    assert target.names(f"{GROUPS}/H/initiators") == [*in_h, "mgmt"]
    for name in in_g:
        assert target.read(f"{GROUPS}/G/initiators/{name}") == f"{name}\n"


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        ("", "EINVAL"),
        ("nonsense iqn.b", "EINVAL"),
        ("add", "EINVAL"),
        ("add .", "EINVAL"),
        (f"add {'n' * 256}", "EINVAL"),
        ("add mgmt", "EEXIST"),
        ("add iqn.a*", "EEXIST"),
        ("del", "EINVAL"),
        ("del iqn.b", "EINVAL"),
        ("move iqn.a*", "EINVAL"),
        ("move iqn.a* I", "EINVAL"),
        ("move iqn.b H", "EINVAL"),
        ("move iqn.a* G", "EEXIST"),
    ],
)
async def test_initiators_that_are_refused(target: Whole, command: str, refusal: str) -> None:
    assert await target.refusal(f"{GROUPS}/G/initiators/mgmt", f"{command}\n") == refusal
    assert target.names(f"{GROUPS}/G/initiators") == ["iqn.a*", "mgmt"]
    assert target.names(f"{GROUPS}/H/initiators") == ["mgmt"]


async def test_sessions_move_to_the_group_that_knows_them(target: Whole) -> None:
    await target.add_null("null1", "null2")
    await target.write(f"{TARGET}/luns/mgmt", "add null1 0\n")
    await target.write(f"{GROUPS}/H/luns/mgmt", "add null2 5\n")
    _, nexus = open_session(target.iscsi.targets["iqn.t"], "iqn.bob")
    session = f"{TARGET}/sessions/iqn.bob"
    assert target.link(f"{session}/luns") == "../../luns"
    await target.write(f"{GROUPS}/H/initiators/mgmt", "add iqn.b*\n")
    assert target.link(f"{session}/luns") == "../../ini_groups/H/luns"
    assert "lun5" in target.names(session)
    assert "lun0" not in target.names(session)
    conditions = [decode(sense) for _, sense in nexus.events]
    assert [condition and condition.triple for condition in conditions] == [(6, 0x3F, 0x0E)]
    await target.write(f"{GROUPS}/H/initiators/mgmt", "clear\n")
    assert target.link(f"{session}/luns") == "../../luns"
