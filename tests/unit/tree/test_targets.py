from __future__ import annotations

import pytest

from scstfs.core.session_lifecycle import close_session
from tests.support.sessions import open_session
from tests.support.whole import Whole

TARGET = "targets/iscsi/iqn.t"


@pytest.fixture
async def target(everything: Whole) -> Whole:
    await everything.add_target()
    return everything


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("rel_tgt_id", "1\n", "1\n[key]\n"),
        ("rel_tgt_id", "0xffff\n", "65535\n[key]\n"),
        ("rel_tgt_id", "0\n", "0\n"),
        ("forward_src", "1\n", "1\n[key]\n"),
        ("forward_dst", "1 x\n", "1\n[key]\n"),
        ("forwarding", "1\n", "1\n[key]\n"),
        ("aen_disabled", "1\n", "1\n[key]\n"),
        ("comment", "some text\n", "some text\n[key]\n"),
        ("comment", "two\nlines\n", "two\nlines\n[key]\n"),
        ("comment", "\n", ""),
    ],
)
async def test_what_is_written_is_read(target: Whole, name: str, text: str, shown: str) -> None:
    await target.check_rows(TARGET, [(name, text, shown)])


@pytest.mark.parametrize(
    ("name", "text", "refusal"),
    [
        ("rel_tgt_id", "65536\n", "EINVAL"),
        ("rel_tgt_id", "-1\n", "EINVAL"),
        ("rel_tgt_id", "x\n", "EINVAL"),
        ("rel_tgt_id", "99999999999999999999\n", "EINVAL"),
        ("forward_src", "2\n", "EINVAL"),
        ("forward_src", "4294967296\n", "ERANGE"),
        ("forward_dst", "2\n", "EINVAL"),
        ("aen_disabled", "x\n", "EINVAL"),
        ("sg_tablesize", "1\n", "EIO"),
        ("read_cmd_count", "0\n", "EIO"),
    ],
)
async def test_what_is_refused_changes_nothing(
    target: Whole, name: str, text: str, refusal: str
) -> None:
    await target.check_rows(TARGET, [(name, text, refusal)])


async def test_active_targets_have_different_identifiers(target: Whole) -> None:
    other = await target.add_target("iqn.u")
    for directory in (TARGET, other):
        await target.write(f"{directory}/rel_tgt_id", "7\n")
    await target.write(f"{TARGET}/enabled", "1\n")
    assert await target.refusal(f"{other}/enabled", "1\n") == "EBADSLT"
    assert target.read(f"{other}/enabled") == "0\n"
    await target.write(f"{other}/rel_tgt_id", "8\n")
    await target.write(f"{other}/enabled", "1\n")
    assert await target.refusal(f"{other}/rel_tgt_id", "7\n") == "EBADSLT"
    # The copy manager's target, which is active, has none.
    assert await target.refusal(f"{other}/rel_tgt_id", "0\n") == "EBADSLT"
    await target.write(f"{other}/rel_tgt_id", "8\n")


async def test_enabling_gives_a_free_identifier(target: Whole) -> None:
    other = await target.add_target("iqn.u")
    await target.write(f"{other}/rel_tgt_id", "1\n")
    await target.write(f"{other}/enabled", "1\n")
    await target.write(f"{TARGET}/enabled", "1\n")
    assert target.read(f"{TARGET}/rel_tgt_id") == "2\n[key]\n"
    await target.write(f"{TARGET}/enabled", "0\n")
    assert target.read(f"{TARGET}/rel_tgt_id") == "2\n[key]\n"


async def test_statistics_are_sums_over_the_present_sessions(target: Whole) -> None:
    first, _ = open_session(target.iscsi.targets["iqn.t"], "iqn.a")
    second, _ = open_session(target.iscsi.targets["iqn.t"], "iqn.b")
    first.counters.read.count(4096, 0)
    second.counters.read.count(512, 512)
    second.counters.write.count(8192, 0)
    numbers = {
        "read_cmd_count": "2\n",
        "read_io_count_kb": "4\n",
        "read_unaligned_cmd_count": "1\n",
        "write_cmd_count": "1\n",
        "write_io_count_kb": "8\n",
        "none_cmd_count": "0\n",
    }
    assert {name: target.read(f"{TARGET}/{name}") for name in numbers} == numbers
    close_session(second)
    assert target.read(f"{TARGET}/read_cmd_count") == "1\n"
    assert target.read(f"{TARGET}/write_cmd_count") == "0\n"


async def test_forwarded_commands_do_not_look_at_reservations(target: Whole) -> None:
    await target.add_null("null1")
    await target.write(f"{TARGET}/luns/mgmt", "add null1 0\n")
    holder, _ = open_session(target.iscsi.targets["iqn.t"], "iqn.a")
    other, _ = open_session(target.iscsi.targets["iqn.t"], "iqn.b")
    tgt_dev = other.tgt_devs[0]
    tgt_dev.take_unit_attention()
    tgt_dev.device.reserved_by = holder
    assert tgt_dev.quick.read is None
    await target.write(f"{TARGET}/forward_dst", "1\n")
    assert tgt_dev.quick.read is not None
    await target.write(f"{TARGET}/forward_dst", "0\n")
    assert tgt_dev.quick.read is None
