"""Conflicts of commands with reservations, compared with the tables of the standards.

PERSISTENT is SPC-4 table 65 and SBC-4 table 13 (SBC-3's and what came since); LEGACY is the column
about RESERVE in SPC-2's tables. Where SCST decides otherwise, DIFFERENT says so and why.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scstfs.core import access, gates
from scstfs.core.device import Device
from scstfs.scsi import pr
from scstfs.scsi.commands import COMMANDS, EXTENSIONS
from scstfs.scsi.opcodes import Direction
from scstfs.scsi.status import Status
from tests.support.every_command import REFUSALS, commands, listed
from tests.support.fake_store import FakeStore
from tests.support.reservations import (
    CLEAR,
    EA,
    EA_AR,
    EA_RO,
    IGNORE,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER,
    RELEASE,
    RESERVE,
    TYPES,
    WE,
    WE_AR,
    WE_RO,
    pr_out,
)
from tests.support.target import GOOD, Initiator, System, target

# Allowed or Conflict: from any other nexus under Write Exclusive and Exclusive Access; from a
# registrant under the other types; from a nexus that is not registered under Write Exclusive and
# Exclusive Access of registrants.
ALWAYS, READS, WRITES = "AAAAA", "ACAAC", "CCACC"

PERSISTENT = {
    ALWAYS: """
        INQUIRY, LOG SENSE, PERSISTENT RESERVE IN, REPORT LUNS, REQUEST SENSE, TEST UNIT READY,
        REPORT TARGET PORT GROUPS, REPORT IDENTIFYING INFORMATION, REPORT TIMESTAMP,
        RECEIVE COPY STATUS(LID1), RECEIVE COPY OPERATING PARAMETERS,
        RECEIVE COPY FAILURE DETAILS(LID1), RECEIVE COPY STATUS(LID4),
        RECEIVE ROD TOKEN INFORMATION,
        READ CAPACITY, READ CAPACITY(16), PREVENT ALLOW MEDIUM REMOVAL: allow,
        START STOP UNIT: start
    """,
    READS: """
        MODE SENSE(6), MODE SENSE(10), RECEIVE DIAGNOSTIC RESULTS,
        REPORT SUPPORTED OPERATION CODES, REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS,
        GET LBA STATUS, POPULATE TOKEN, PRE-FETCH, PRE-FETCH(16), READ DEFECT DATA(10),
        READ DEFECT DATA(12), READ(6), READ(10), READ(12), READ(16), VERIFY(10), VERIFY(12),
        VERIFY(16)
    """,
    WRITES: """
        EXTENDED COPY(LID1), EXTENDED COPY(LID4), LOG SELECT, MODE SELECT(6), MODE SELECT(10),
        SEND DIAGNOSTIC, SET TARGET PORT GROUPS, COMPARE AND WRITE, FORMAT UNIT, ORWRITE(16),
        PREVENT ALLOW MEDIUM REMOVAL, SANITIZE OVERWRITE, SANITIZE BLOCK ERASE,
        SANITIZE EXIT FAILURE MODE, START STOP UNIT, SYNCHRONIZE CACHE(10), SYNCHRONIZE CACHE(16),
        UNMAP, WRITE USING TOKEN, WRITE(6), WRITE(10), WRITE(12), WRITE(16), WRITE ATOMIC(16),
        WRITE AND VERIFY(10), WRITE AND VERIFY(12), WRITE AND VERIFY(16), WRITE SAME(10),
        WRITE SAME(16)
    """,
}

LEGACY_ALLOWED = """
    INQUIRY, LOG SENSE, REPORT LUNS, REQUEST SENSE, RELEASE(6), RELEASE(10), READ CAPACITY,
    READ CAPACITY(16), REPORT IDENTIFYING INFORMATION, PREVENT ALLOW MEDIUM REMOVAL: allow,
    START STOP UNIT: start
"""

DIFFERENT_LEGACY = {
    "TEST UNIT READY": "SCST allows it, as Linux's initiators want",
    "REPORT TARGET PORT GROUPS": "newer than SPC-2; SCST allows it",
    "REPORT TIMESTAMP": "newer than SPC-2; like other reports about the device as a whole",
}

#: With protection information only, which disks do not have.
UNSERVED = {
    READS: ["READ(32)", "VERIFY(32)"],
    WRITES: ["WRITE(32)", "WRITE AND VERIFY(32)", "WRITE SAME(32)"],
}

#: Of CD-ROM drives: commands about the drive do not affect readers of the disc (MMC-6).
DRIVES = {
    ALWAYS: ["GET CONFIGURATION", "GET EVENT STATUS NOTIFICATION"],
    READS: ["MECHANISM STATUS", "READ DISC INFORMATION"],
}

#: They have tables of their own; READ TOC, which no table of SPC-4 or SBC-3 has, is for CD-ROMs,
#: and SCST lets no other nexus send it.
ELSEWHERE = {
    "PERSISTENT RESERVE OUT", "RESERVE(6)", "RESERVE(10)", "RELEASE(6)", "RELEASE(10)",
    "READ TOC/PMA/ATIP",
}  # fmt: skip

RULES = {name: rule for rule, names in PERSISTENT.items() for name in listed(names)}


def conflicts(initiator: Initiator, cdb: bytes) -> bool:
    """The command would not get past a reservation."""
    device = initiator.session.tgt_devs[0].device
    decoded = device.opcodes.decode(cdb, device.block_shift)
    sent = decoded.length if decoded.direction is Direction.OUT else 0
    asked_for = decoded.length if decoded.direction is Direction.IN else None
    cmd = initiator.prepare(cdb, sent, asked_for)
    assert not cmd.is_over, cmd.result
    return gates.conflicts(cmd.tgt_dev, cmd.flags)


class Three:
    """The holder of a reservation, a mere registrant, and another nexus."""

    def __init__(self, system: System) -> None:
        self.holder, self.registrant, self.other = (
            system.initiator(name) for name in ("holder", "registrant", "other")
        )

    async def reserve(self, kind: int) -> None:
        for initiator in (self.holder, self.registrant):
            assert await initiator.execute(*pr_out(IGNORE, new=1)) == GOOD
        assert await self.holder.execute(*pr_out(RESERVE, kind, key=1)) == GOOD


async def served(system: System, name: str) -> Device:
    if name == "CD-ROM":
        cd = await system.add("vcdrom", "cd")
        cd.medium.install(FakeStore(1 << 20))
        return cd
    disk = await system.add_disk("disk", thin_provisioned=1)
    disk.explicit_alua = True
    return disk


#: The column of a rule for each nexus.
COLUMNS = {
    WE: (0, 0), EA: (1, 1), WE_RO: (2, 3), EA_RO: (2, 4), WE_AR: (2, 3), EA_AR: (2, 4),
}  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
async def test_persistent_reservations(tmp_path: Path, kind: int) -> None:
    async with target(tmp_path) as system:
        disk = await served(system, "disk")
        three = Three(system)
        await three.reserve(kind)
        disk.max_tgt_dev_commands = 1000
        registered, unregistered = COLUMNS[kind]
        seen = set()
        for name, cdb in commands(disk):
            if name in ELSEWHERE:
                continue
            seen.add(name)
            rule = RULES[name]
            assert not conflicts(three.holder, cdb), name
            assert conflicts(three.registrant, cdb) is (rule[registered] == "C"), name
            assert conflicts(three.other, cdb) is (rule[unregistered] == "C"), name
        assert set(RULES) == seen


#: Names of commands that the table of commands distinguishes, or names differently.
ALIASES = {
    "EXTENDED COPY": "EXTENDED COPY(LID1)",
    "RECEIVE COPY RESULT": "RECEIVE COPY STATUS(LID1)",
}


@pytest.mark.parametrize("kind", TYPES)
def test_every_row_of_the_table_of_commands(kind: int) -> None:
    """All features that a device must have for it."""
    others = (*UNSERVED.items(), *DRIVES.items())
    rules = RULES | {name: rule for rule, names in others for name in names}
    registered, unregistered = COLUMNS[kind]
    missing = set(rules)
    for row in (*COMMANDS, *EXTENSIONS):
        name = ALIASES.get(row.name, row.name)
        if row.execute in REFUSALS or name in ELSEWHERE:
            continue
        missing.discard(name)
        columns = ((True, True, None), (False, True, registered), (False, False, unregistered))
        for holder, is_registered, column in columns:
            expected = column is None or rules[name][column] == "A"
            allowed = pr.allowed(pr.PrType(kind), row.flags, holder, is_registered)
            assert allowed is expected, (name, holder, is_registered)
    # Their forms depend on other bits of the CDB.
    assert all(": " in name for name in missing)


async def test_reserve_6_and_10(tmp_path: Path) -> None:
    async with target(tmp_path) as system:
        disk = await served(system, "disk")
        one, other = system.initiator("one"), system.initiator("other")
        assert await one.execute(bytes.fromhex("160000000000")) == GOOD
        disk.max_tgt_dev_commands = 1000
        allowed = set(listed(LEGACY_ALLOWED))
        for name, cdb in commands(disk):
            assert not conflicts(one, cdb), name
            expected = name not in allowed and name not in DIFFERENT_LEGACY
            assert conflicts(other, cdb) is expected, name


async def test_a_cd_rom_can_be_reserved(tmp_path: Path) -> None:
    async with target(tmp_path) as system:
        cd = await served(system, "CD-ROM")
        one, other = system.initiator("one"), system.initiator("other")
        assert await one.execute(bytes.fromhex("560000000000000000 00")) == GOOD
        cd.max_tgt_dev_commands = 1000
        allowed = {*listed(LEGACY_ALLOWED), *DRIVES[ALWAYS]}
        for name, cdb in commands(cd):
            expected = name not in allowed and name not in DIFFERENT_LEGACY
            assert conflicts(other, cdb) is expected, name


@pytest.mark.parametrize("how", ["release", "end", "lun goes"])
async def test_how_a_reservation_ends(system: System, how: str) -> None:
    disk = await system.add_disk()
    acg = system.group("group", "holder")
    access.add_lun(acg, disk, 0, read_only=False)
    holder, passer_by, other = (system.initiator(name) for name in ("holder", "one", "other"))
    write = bytes.fromhex("2a000000000000000100")
    assert await holder.execute(bytes.fromhex("160000000000")) == GOOD
    # Other nexuses have no effect.
    assert await passer_by.execute(bytes.fromhex("170000000000")) == GOOD
    await passer_by.end()
    conflict = await other.execute(write, bytes(512))
    assert conflict.status is Status.RESERVATION_CONFLICT
    assert other.session.tgt_devs[0].quick.write is None
    if how == "release":
        assert await holder.execute(bytes.fromhex("170000000000")) == GOOD
    elif how == "end":
        await holder.end()
    else:
        access.remove_lun(acg.luns[0])
    assert other.session.tgt_devs[0].quick.write is not None
    assert await other.execute(write, bytes(512)) == GOOD


def test_the_differences_are_still_there() -> None:
    assert not set(DIFFERENT_LEGACY) & set(listed(LEGACY_ALLOWED))


# PERSISTENT RESERVE OUT (SPC-4 table 66)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("action", "registered", "unregistered"),
    [
        (CLEAR, "A", "C"),
        (PREEMPT, "A", "C"),
        (PREEMPT_AND_ABORT, "A", "C"),
        (REGISTER, "A", "A"),
        (IGNORE, "A", "A"),
        (RELEASE, "A", "C"),
        (RESERVE, "C", "C"),
    ],
)
async def test_persistent_reserve_out(
    system: System, kind: int, action: int, registered: str, unregistered: str
) -> None:
    await system.add_disk()
    three = Three(system)
    await three.reserve(kind)
    if action == RESERVE and kind in (WE_AR, EA_AR):
        registered = "A"  # each is a holder
    new = 1 if action in (PREEMPT, PREEMPT_AND_ABORT) else 2
    for initiator, key, expected in (
        (three.other, 0, unregistered),
        (three.registrant, 1, registered),
    ):
        result = await initiator.execute(*pr_out(action, kind, key=key, new=new))
        assert (result.status is Status.RESERVATION_CONFLICT) is (expected == "C")
        assert result.status in (Status.RESERVATION_CONFLICT, Status.GOOD)


# RESERVE and RELEASE with persistent reservations (SPC-4 5.13.3: CRH)


@pytest.mark.parametrize("kind", [None, *TYPES])
@pytest.mark.parametrize("command", ["16", "17", "56", "57"])
async def test_compatible_reservation_handling(
    system: System, kind: int | None, command: str
) -> None:
    disk = await system.add_disk()
    three = Three(system)
    if kind is None:
        for initiator in (three.holder, three.registrant):
            assert await initiator.execute(*pr_out(IGNORE, new=1)) == GOOD
    else:
        await three.reserve(kind)
    cdb = bytes.fromhex(command).ljust(10, b"\0")
    before = disk.pr.save_state()
    shared = kind not in (None, WE, EA)
    for initiator, good in (
        (three.holder, kind is not None),
        (three.registrant, shared),
        (three.other, False),
    ):
        expected = Status.GOOD if good else Status.RESERVATION_CONFLICT
        assert (await initiator.execute(cdb)).status is expected
    assert disk.reserved_by is None
    assert disk.pr.save_state() == before


# RESERVE and RELEASE (SPC-2 7.18, 7.21)


RESERVE_6, RESERVE_10 = bytes.fromhex("160000000000"), bytes.fromhex("56000000000000000000")
RELEASE_6, RELEASE_10 = bytes.fromhex("170000000000"), bytes.fromhex("57000000000000000000")


@pytest.mark.parametrize("take", [RESERVE_6, RESERVE_10])
@pytest.mark.parametrize("give", [RELEASE_6, RELEASE_10])
async def test_reserve_and_release(system: System, take: bytes, give: bytes) -> None:
    disk = await system.add_disk()
    one, other = system.initiator("one"), system.initiator("other")
    assert await one.execute(take) == GOOD
    assert await one.execute(take) == GOOD
    assert (await other.execute(take)).status is Status.RESERVATION_CONFLICT
    assert await other.execute(give) == GOOD
    assert disk.reserved_by is one.session
    assert await one.execute(give) == GOOD
    assert disk.reserved_by is None
    assert await other.execute(take) == GOOD


@pytest.mark.parametrize("byte1", [0x00, 0x10])
async def test_third_party_reservations(system: System, byte1: int) -> None:
    await system.add_disk()
    one = system.initiator()
    cdb = bytes((0x56, byte1, 0x10)) + bytes(7)
    assert (await one.execute(cdb)).triple == (5, 0x24, 0)


READ, WRITE = bytes.fromhex("28000000000000000100"), bytes.fromhex("2a000000000000000100")
BLOCK = bytes(512)


@pytest.mark.parametrize("kind", [None, *TYPES])
async def test_the_fast_paths_know(system: System, kind: int | None) -> None:
    """READ and WRITE are checked in advance, whenever something changes."""
    await system.add_disk()
    three = Three(system)
    nexuses = [i.session.tgt_devs[0] for i in (three.holder, three.registrant, three.other)]

    def fast() -> list[tuple[bool, bool]]:
        return [(n.quick.read is not None, n.quick.write is not None) for n in nexuses]

    both, neither, reads = (True, True), (False, False), (True, False)
    assert fast() == [both] * 3
    if kind is None:
        await three.holder.execute(RESERVE_6)
        assert fast() == [both, neither, neither]
        await three.holder.execute(RELEASE_6)
    else:
        await three.reserve(kind)
        limited = reads if kind in (WE, WE_RO, WE_AR) else neither
        registered = limited if kind in (WE, EA) else both
        assert fast() == [both, registered, limited]
        for initiator, paths in zip((three.registrant, three.other), fast()[1:], strict=True):
            read = await initiator.execute(READ, data_in=512)
            write = await initiator.execute(WRITE, BLOCK)
            assert [s is Status.GOOD for s in (read.status, write.status)] == list(paths)
        await three.holder.execute(*pr_out(CLEAR, key=1))
        three.registrant.clear_unit_attentions()
    assert fast() == [both] * 3


async def test_forwarded_commands_are_not_checked(system: System) -> None:
    await system.add_disk()
    one, other = system.initiator("one"), system.initiator("other")
    await one.execute(RESERVE_6)
    system.target.forward_dst = True
    assert await other.execute(WRITE, BLOCK) == GOOD
    assert other.session.tgt_devs[0].quick.write is not None
    # But it cannot take a reservation that another nexus has.
    assert (await other.execute(RESERVE_6)).status is Status.RESERVATION_CONFLICT
