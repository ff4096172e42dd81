from __future__ import annotations

import pytest

from scstfs.local import open_session
from scstfs.scsi.sense import decode
from tests.support.whole import Whole

DIRECTORY = "devices/null1"


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("t10_vend_id", "ACME\n", "ACME\n[key]\n"),
        ("t10_vend_id", "\n", "\n[key]\n"),
        ("t10_vend_id", "12345678\nrest", "12345678\n[key]\n"),
        ("prod_id", "p\n", "p\n[key]\n"),
        ("prod_rev_lvl", "1.0\n", "1.0\n[key]\n"),
        ("vend_specific_id", "v" * 128, "v" * 128 + "\n[key]\n"),
        ("t10_dev_id", "d\n", "d\n[key]\n"),
        ("usn", "u\n", "u\n[key]\n"),
        ("scsi_device_name", "naa.5\n", "naa.5\n[key]\n"),
        ("scsi_device_name", "\n", "\n"),
        ("inq_vend_specific", "x\n", "x\n[key]\n"),
        ("inq_vend_specific", "\n", "\n"),
        ("naa_id", "0x5000000000000001\n", "0x5000000000000001\n[key]\n"),
        ("naa_id", " 2000000000000ABC \n", "0x2000000000000abc\n[key]\n"),
        ("naa_id", f"6{'0' * 31}", f"0x6{'0' * 31}\n[key]\n"),
        ("naa_id", "\n", "\n"),
        ("naa_id", "0x", "\n"),
        ("eui64_id", f"{'ab' * 12}\n", f"0x{'ab' * 12}\n[key]\n"),
        ("eui64_id", "0x\n", "\n"),
    ],
)
async def test_what_is_written_is_read(everything: Whole, name: str, text: str, shown: str) -> None:
    await everything.add_null("null1")
    await everything.check_rows(DIRECTORY, [(name, text, shown)])


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("t10_vend_id", 8),
        ("vend_specific_id", 128),
        ("prod_id", 16),
        ("prod_rev_lvl", 4),
        ("t10_dev_id", 25),
        ("usn", 20),
        ("scsi_device_name", 256),
        ("inq_vend_specific", 160),
    ],
)
async def test_how_much_text_fits(everything: Whole, name: str, most: int) -> None:
    await everything.add_null("null1")
    rows = [(name, "x" * most, "x" * most + "\n[key]\n"), (name, "x" * (most + 1), "EINVAL")]
    await everything.check_rows(DIRECTORY, rows)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t10_vend_id", "123456789\n"),
        ("prod_id", "p" * 17),
        ("prod_rev_lvl", "12345"),
        ("vend_specific_id", "v" * 129),
        ("t10_dev_id", "d" * 26),
        ("t10_dev_id", "short\n" + "long" * 20),
        ("usn", "u" * 21),
        ("scsi_device_name", "s" * 257),
        ("inq_vend_specific", "x" * 161),
        ("naa_id", "1000000000000001\n"),
        ("naa_id", "5000\n"),
        ("naa_id", f"5{'0' * 31}"),
        ("naa_id", "500000000000000g"),
        ("naa_id", "0x\n"),
        ("eui64_id", "ab"),
        ("eui64_id", "zz" * 8),
    ],
)
async def test_what_is_refused_changes_nothing(everything: Whole, name: str, text: str) -> None:
    await everything.add_null("null1")
    await everything.check_rows(DIRECTORY, [(name, text, "EINVAL")])


async def test_initiators_are_told(everything: Whole) -> None:
    await everything.add_null("null1")
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.write("targets/scst_local/t/luns/mgmt", "add null1 0\n")
    session = open_session(everything.local.targets["t"], "me")
    await everything.write(f"{DIRECTORY}/prod_id", "other\n")
    [event] = session.take_events()
    condition = decode(event.sense)
    assert condition is not None
    assert (condition.asc, condition.ascq) == (0x3F, 0x03)
    await session.execute(0, bytes(6))
    data = (await session.execute(0, bytes.fromhex("120000006000"))).data
    assert data[16:32] == b"other           "


async def test_cluster_mode_fixes_the_identifier(everything: Whole) -> None:
    await everything.add_null("null1", parameters="cluster_mode=1")
    assert await everything.refusal(f"{DIRECTORY}/t10_dev_id", "x\n") == "EPERM"
    await everything.write(f"{DIRECTORY}/usn", "x\n")
