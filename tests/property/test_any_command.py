"""Whatever an initiator sends: a status, valid sense data, and no block changed but those named."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from scstfs.core import task_management
from scstfs.handlers.medium_change import change_medium
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi.commands import COMMANDS, EXTENSIONS
from scstfs.scsi.opcodes import Flag
from scstfs.scsi.provisioning import unmap_extents
from scstfs.scsi.sense import CheckCondition, SenseKey, decode
from scstfs.scsi.status import Status
from tests.support import verdicts
from tests.support.target import Result, System, TestCommand, target

BLOCK, BLOCKS = 512, 64
KNOWN = sorted({row.code for row in (*COMMANDS, *EXTENSIONS)})
SERVED = [row for row in (*COMMANDS, *EXTENSIONS) if row.usage is not None]
#: Commands that name what they change in their parameter lists, or change everything.
ANYWHERE = {"extended_copy", "extended_copy_lid4", "write_using_token", "format_unit"} | {
    f"sanitize_{action}" for action in ("overwrite", "block_erase")
}

plausible = st.builds(
    lambda row, noise: bytes(
        (row.code, *(mask & byte for mask, byte in zip(row.usage[1:], noise, strict=False)))
    ),
    st.sampled_from(SERVED),
    st.binary(min_size=32, max_size=32),
)
small_fields = st.builds(
    lambda row, noise: bytes((row.code, row.service_action or 0, *(byte & 0x13 for byte in noise))),
    st.sampled_from(SERVED),
    st.binary(min_size=30, max_size=30),
)
sparse = st.builds(
    lambda row, fields: bytes(
        (row.code, row.service_action or 0, *(fields.get(n, 0) for n in range(2, 16)))
    ),
    st.sampled_from(SERVED),
    st.dictionaries(st.integers(2, 15), st.integers(0, 40), max_size=3),
)
anything = st.builds(
    lambda code, rest: bytes((code,)) + rest,
    st.one_of(st.sampled_from(KNOWN), st.integers(0, 255)),
    st.binary(max_size=31),
)
cdbs = st.one_of(plausible, small_fields, sparse, anything)
payloads = st.one_of(
    st.none(),
    st.integers(0, 1 << 16),
    st.binary(max_size=600),
    st.builds(lambda byte, n: bytes((byte,)) * n, st.integers(0, 255), st.integers(1, 40 * BLOCK)),
)
requests = st.lists(st.tuples(cdbs, payloads), min_size=1, max_size=6)


def check_answer(result: Result) -> None:
    assert result.status in (
        Status.GOOD,
        Status.CHECK_CONDITION,
        Status.BUSY,
        Status.RESERVATION_CONFLICT,
    )
    if result.status is not Status.CHECK_CONDITION:
        assert not result.sense
        return
    assert not result.data
    condition = decode(result.sense)
    assert condition is not None
    assert condition.key not in (SenseKey.NO_SENSE, SenseKey.RESERVED)


def may_change(device: VdiskDevice, cmd: TestCommand) -> set[int]:
    """The blocks that the command names."""
    try:
        decoded = device.opcodes.decode(cmd.cdb, device.block_shift)
        name = decoded.op.execute
        unmapped = unmap_extents(decoded.cdb, bytes(cmd.data)) if name == "unmap" else []
    except CheckCondition:
        return set()
    if not decoded.flags & Flag.WRITES_MEDIUM:
        return set()
    if name in ANYWHERE:
        return set(range(BLOCKS))
    if name == "unmap":
        return {n for e in unmapped for n in range(e.lba, min(e.lba + e.blocks, BLOCKS))}
    if decoded.lba is None:
        return set()
    end = decoded.lba + (decoded.data_length >> device.block_shift)
    return set(range(decoded.lba, min(end, BLOCKS)))


async def _thin(system: System) -> VdiskDevice:
    return await system.add_disk("disk", size=BLOCK * BLOCKS, thin_provisioned=1)


async def _plain(system: System) -> VdiskDevice:
    return await system.add_disk("disk", size=BLOCK * BLOCKS)


async def _read_only(system: System) -> VdiskDevice:
    return await system.add_disk("disk", size=BLOCK * BLOCKS, read_only=1)


async def _nullio(system: System) -> VdiskDevice:
    return await system.add("vdisk_nullio", "disk", size_mb=1)


async def _cd_rom(system: System) -> VdiskDevice:
    drive = await system.add("vcdrom", "disk")
    await change_medium(drive, str(system.directory / "image"))
    return drive


async def _empty_cd_rom(system: System) -> VdiskDevice:
    return await system.add("vcdrom", "disk")


MAKERS: dict[str, Callable[[System], Awaitable[VdiskDevice]]] = {
    "thin": _thin,
    "plain": _plain,
    "read_only": _read_only,
    "nullio": _nullio,
    "cd_rom": _cd_rom,
    "empty_cd_rom": _empty_cd_rom,
}


async def play(kind: str, sequence: Sequence[tuple[bytes, bytes | int | None]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        content = bytes(range(256)) * (BLOCK * BLOCKS // 256)
        (directory / "image").write_bytes(content)
        async with target(directory) as system:
            device = await MAKERS[kind](system)
            file = directory / ("image" if kind.endswith("cd_rom") else "disk")
            if file.name == "disk":
                file.write_bytes(content)
            initiator = system.initiator()
            for command, payload in sequence:
                out = payload if isinstance(payload, bytes) else b""
                data_in = payload if isinstance(payload, int) else None
                before = file.read_bytes()
                cmd = initiator.start(command, out, data_in)
                allowed = may_change(device, cmd)
                with trio.fail_after(5):
                    check_answer(await cmd.wait())
                    while device.busy is not None:
                        await trio.lowlevel.checkpoint()
                # NACA leaves an auto contingent allegiance; check the next command.
                verdicts.check(system.scst)
                task_management.clear_aca(initiator.session.tgt_devs[0], lambda: None)
                verdicts.check(system.scst)
                after = file.read_bytes()
                assert len(after) == len(before)
                changed = {
                    n // BLOCK
                    for n in range(0, len(after), BLOCK)
                    if before[n : n + BLOCK] != after[n : n + BLOCK]
                }
                assert changed <= allowed


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(MAKERS))
@settings(max_examples=100, deadline=None)
@given(sequence=requests)
def test_any_command_gets_an_answer(
    kind: str, sequence: Sequence[tuple[bytes, bytes | int | None]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # A traceback is what the core's guard logs of a bug.
        patch.setattr(logging.Logger, "exception", _fail)
        trio.run(play, kind, sequence)


def _fail(self: logging.Logger, message: object, *args: object, **_: object) -> None:
    raise AssertionError(f"{message} {args}")
