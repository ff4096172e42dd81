from __future__ import annotations

import pytest

from scstfs.core.alua import DeviceGroup, GroupTarget, TargetGroup
from scstfs.scsi import sense
from scstfs.scsi.alua import AccessState
from scstfs.scsi.status import Status
from tests.support.copies import be
from tests.support.fake_store import FakeStore
from tests.support.target import GOOD, System

INVALID_FIELD = (0x5, 0x24, 0x00)
WRITE_PROTECTED, DPOFUA = 0x80, 0x10
NOT_CONNECTED = 0x20


@pytest.mark.parametrize("d_sense", [False, True])
@pytest.mark.parametrize("pending", [False, True])
async def test_request_sense_comes_in_the_format_asked_for(
    system: System, d_sense: bool, pending: bool
) -> None:
    await system.add("vdisk_nullio", "disk")
    initiator = system.initiator()
    if d_sense:
        page = bytes(4) + b"\x0a\x0a\x24" + bytes(9)
        assert await initiator.execute(b"\x15\x10\0\0\x10\0", page) == GOOD
    found = []
    for desc in (0, 1):
        if pending:
            initiator.session.tgt_devs[0].queue_unit_attention(sense.RESET)
        result = await initiator.execute(bytes((0x03, desc, 0, 0, 255, 0)), data_in=255)
        found.append(result.data.hex())
    if pending:
        assert found == ["700006000000000a00000000290000000000", "7206290000000000"]
    else:
        assert found == ["700000000000000a00000000000000000000", "7200000000000000"]


async def test_mode_select_tells_the_others(system: System) -> None:
    await system.add("vdisk_nullio", "disk")
    one, two = system.initiator("one"), system.initiator("two")
    page = bytes(4) + b"\x0a\x0a\x20" + bytes(9)
    assert await one.execute(b"\x15\x10\0\0\x10\0", page) == GOOD
    assert await one.execute(bytes(6)) == GOOD
    assert (await two.execute(bytes(6))).triple == (0x6, 0x2A, 0x01)


async def test_mode_select_that_is_refused_tells_nobody(system: System) -> None:
    await system.add("vdisk_nullio", "disk")
    one, two = system.initiator("one"), system.initiator("two")
    result = await one.execute(b"\x15\x10\0\0\x08\0", bytes(4) + b"\x39\x02\xff\xff")
    assert result.triple == (0x5, 0x26, 0x00)
    assert await two.execute(bytes(6)) == GOOD


async def test_software_write_protection(system: System) -> None:
    await system.add_disk("disk")
    initiator = system.initiator()
    page = bytes(4) + b"\x0a\x0a\x20\x10\x08" + bytes(7)
    assert await initiator.execute(b"\x15\x10\0\0\x10\0", page) == GOOD
    assert initiator.session.tgt_devs[0].quick.write is None
    result = await initiator.execute(b"\x2a" + bytes(7) + b"\x01\0", bytes(512))
    assert result.triple == (0x7, 0x27, 0x00)


async def test_mode_sense_shows_software_write_protection(system: System) -> None:
    await system.add_disk("disk")
    initiator = system.initiator()
    short, long = b"\x1a\x08\x0a\0\xff\0", b"\x5a\x08\x0a\0\0\0\0\0\xff\0"
    assert (await initiator.execute(short, data_in=255)).data[2] == DPOFUA
    page = bytes(4) + b"\x0a\x0a\x20\x10\x08" + bytes(7)
    assert await initiator.execute(b"\x15\x10\0\0\x10\0", page) == GOOD
    assert (await initiator.execute(short, data_in=255)).data[2] == WRITE_PROTECTED | DPOFUA
    assert (await initiator.execute(long, data_in=255)).data[3] == WRITE_PROTECTED | DPOFUA


async def test_log_sense_of_a_thin_device(system: System) -> None:
    device = await system.add_disk("disk", thin_provisioned=1)
    store = FakeStore(1 << 20)
    device.medium.install(store)
    initiator = system.initiator()
    command = b"\x4d\0\x4c\0\0\0\0\x01\0\0"
    result = await initiator.execute(command, data_in=256)
    # 2048 blocks are available, none is used; both resources are shared with others.
    assert result.data.hex() == "0c000018000103080000080002000000000203080000000002000000"


async def test_log_sense_of_other_devices(system: System) -> None:
    await system.add("vdisk_nullio", "disk")
    initiator = system.initiator()
    assert (await initiator.execute(b"\x4d\0\x4c\0\0\0\0\x01\0\0", data_in=256)).triple == (
        INVALID_FIELD
    )
    result = await initiator.execute(b"\x4d\0\x40\0\0\0\0\x01\0\0", data_in=256)
    assert result.data == b"\0\0\0\x02\0\x2f"


async def test_report_timestamp_is_the_time(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scstfs.handlers.spc.time.time", lambda: 1_600_000_000.5)
    await system.add("vdisk_nullio", "disk")
    result = await system.initiator().execute(
        b"\xa3\x0f" + bytes(4) + be(12, 4) + b"\0\0", data_in=12
    )
    assert int.from_bytes(result.data[4:10], "big") == 1_600_000_000_500


@pytest.mark.parametrize(
    ("command", "length"),
    [
        pytest.param(b"\x12\x01\x8f\x02\0\0", 512, id="third-party copy page"),
        pytest.param(b"\x1c\x01\0\0\xff\0", 255, id="receive diagnostic results"),
        pytest.param(b"\xa3\x0d" + bytes(4) + be(16, 4) + b"\0\0", 16, id="task management"),
        pytest.param(b"\xa3\x05" + bytes(4) + be(64, 4) + b"\xfe\0", 64, id="information"),
        pytest.param(b"\x37\0\x18" + bytes(4) + be(64, 2) + b"\0", 64, id="defects"),
    ],
)
async def test_what_is_answered_from_tables(system: System, command: bytes, length: int) -> None:
    await system.add("vdisk_nullio", "disk")
    result = await system.initiator().execute(command, data_in=length)
    assert result.status is Status.GOOD
    assert 4 <= len(result.data) <= length


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        pytest.param(b"\x4c\0" + bytes(8), INVALID_FIELD, id="log select"),
        pytest.param(b"\x2b" + bytes(9), (0x5, 0x20, 0x00), id="seek"),
        pytest.param(b"\xc1" + bytes(9), (0x5, 0x20, 0x00), id="unknown"),
    ],
)
async def test_refused(system: System, command: bytes, answer: tuple[int, int, int]) -> None:
    await system.add("vdisk_nullio", "disk")
    assert (await system.initiator().execute(command)).triple == answer


async def test_send_diagnostic_is_always_good(system: System) -> None:
    await system.add("vdisk_nullio", "disk")
    assert await system.initiator().execute(b"\x1d\x04\0\0\0\0") == GOOD


async def test_inquiry_knows_target_groups_by_the_name_of_the_target(system: System) -> None:
    device = await system.add_disk("disk")
    group = system.scst.device_groups["dg"] = DeviceGroup(system.scst, "dg")
    group.add(device)
    target_group = group.target_groups["tg"] = TargetGroup(group, "tg")
    # The entry is older than the target, so that it stands for one of another node.
    target_group.targets[system.target.name] = GroupTarget(system.target.name, None)
    target_group.set_state(AccessState.UNAVAILABLE)
    initiator = system.initiator()
    result = await initiator.execute(b"\x12\0\0\0\x24\0", data_in=36)
    assert result.data[0] == NOT_CONNECTED
    assert await initiator.execute(bytes(6)) == GOOD


LBPME, LBPRZ = 0x80, 0x40
LBPU, LBPWS, LBPWS10, LBPRZ_OF_THE_PAGE = 0x80, 0x40, 0x20, 0x04


@pytest.mark.parametrize("thin", [False, True])
async def test_a_thin_file_says_that_it_reads_as_zeros(system: System, thin: bool) -> None:
    await system.add_disk("disk", thin_provisioned=int(thin))
    initiator = system.initiator()
    capacity = await initiator.execute(b"\x9e\x10" + bytes(11) + b"\x20\0\0", data_in=32)
    assert capacity.data[14] == (LBPME | LBPRZ if thin else 0)
    page = await initiator.execute(b"\x12\x01\xb2\0\xff\0", data_in=255)
    if thin:
        assert page.data[5] == LBPU | LBPWS | LBPWS10 | LBPRZ_OF_THE_PAGE
    else:
        assert page.triple == INVALID_FIELD
