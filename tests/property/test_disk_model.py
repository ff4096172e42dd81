"""Any sequence of block commands leaves real disks and models in memory with the same bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import copies, verdicts
from tests.support.copies import Segment, be
from tests.support.model_disk import (
    BLOCK,
    BLOCKS,
    COPY_ABORTED,
    GOOD,
    INVALID_PARAMETER,
    MISCOMPARE,
    OUT_OF_RANGE,
    READ,
    TOKEN_REVOKED,
    VERIFY,
    WRITE,
    WRITE_AND_VERIFY,
    WRITE_SAME,
    Expected,
    ModelDisk,
    ModelToken,
    cdb,
)
from tests.support.target import Initiator, Result, target

FUA = 0x08
BYTCHK = {"medium": 0x00, "all": 0x02, "one block": 0x06}


@dataclass
class World:
    """Two real disks, their models, and the tokens that were made."""

    initiator: Initiator
    files: Sequence[Path]
    targets: Sequence[bytes]
    disks: list[ModelDisk] = field(default_factory=lambda: [ModelDisk(), ModelDisk()])
    tokens: list[ModelToken] = field(default_factory=list)
    list_id: int = 0

    async def check(
        self,
        expected: Expected,
        lun: int,
        command: bytes,
        data: bytes = b"",
        data_in: int | None = None,
    ) -> Result:
        """Send a command; its answer must be the model's."""
        with trio.fail_after(5):
            result = await self.initiator.execute(command, data, data_in, lun=lun)
        assert (result.status, result.triple) == (expected.status, expected.sense)
        if expected.sense is None and expected.data is not None:
            assert result.data == expected.data
        return result

    def compare(self) -> None:
        for file, model in zip(self.files, self.disks, strict=True):
            assert file.read_bytes() == model.content


class Operation(Protocol):
    async def run(self, world: World) -> None: ...


@dataclass(frozen=True)
class Range:
    """Blocks of one of the disks, maybe beyond its end."""

    lun: int
    lba: int
    blocks: int

    @property
    def exists(self) -> bool:
        return self.lba + self.blocks <= BLOCKS

    def fill(self, seed: int) -> bytes:
        """Data for the blocks: different in each, and all zeros for seed 0."""
        return b"".join(bytes((seed and (seed + n) % 256,)) * BLOCK for n in range(self.blocks))


@dataclass(frozen=True)
class Read:
    where: Range
    size: int

    async def run(self, world: World) -> None:
        where = self.where
        expected = Expected(OUT_OF_RANGE)
        if where.exists:
            expected = Expected(data=world.disks[where.lun].read(where.lba, where.blocks))
        command = cdb(READ, self.size, where.lba, where.blocks)
        await world.check(expected, where.lun, command, data_in=where.blocks * BLOCK)


@dataclass(frozen=True)
class Write:
    """WRITE, WRITE AND VERIFY, WRITE ATOMIC."""

    where: Range
    codes: dict[int, int]
    size: int
    seed: int
    flags: int

    async def run(self, world: World) -> None:
        where, data = self.where, self.where.fill(self.seed)
        command = cdb(self.codes, self.size, where.lba, where.blocks, self.flags)
        if where.exists:
            world.disks[where.lun].write(where.lba, data)
        expected = GOOD if where.exists else Expected(OUT_OF_RANGE)
        await world.check(expected, where.lun, command, data)


@dataclass(frozen=True)
class WriteAtomic:
    where: Range
    seed: int

    async def run(self, world: World) -> None:
        where, data = self.where, self.where.fill(self.seed)
        command = b"\x9c\0" + be(where.lba, 8) + be(0, 2) + be(where.blocks, 2) + bytes(2)
        if where.exists:
            world.disks[where.lun].write(where.lba, data)
        expected = GOOD if where.exists else Expected(OUT_OF_RANGE)
        await world.check(expected, where.lun, command, data)


@dataclass(frozen=True)
class OrWrite:
    where: Range
    seed: int

    async def run(self, world: World) -> None:
        where, data, disk = self.where, self.where.fill(self.seed), world.disks[self.where.lun]
        command = cdb({16: 0x8B}, 16, where.lba, where.blocks)
        if where.exists:
            present = disk.read(where.lba, where.blocks)
            disk.write(where.lba, bytes(a | b for a, b in zip(present, data, strict=True)))
        expected = GOOD if where.exists else Expected(OUT_OF_RANGE)
        await world.check(expected, where.lun, command, data)


@dataclass(frozen=True)
class Verify:
    where: Range
    size: int
    bytchk: str
    spoiled: bool

    async def run(self, world: World) -> None:
        where, disk = self.where, world.disks[self.where.lun]
        present = disk.read(where.lba, where.blocks) if where.exists else where.fill(1)
        data = {"medium": b"", "all": present, "one block": present[:BLOCK]}[self.bytchk]
        if self.spoiled and data:
            data = data[:-1] + bytes((data[-1] ^ 0x40,))
        expected = GOOD
        if not where.exists:
            expected = Expected(OUT_OF_RANGE)
        elif data and present != data * (len(present) // len(data)):
            expected = Expected(MISCOMPARE)
        command = cdb(VERIFY, self.size, where.lba, where.blocks, BYTCHK[self.bytchk])
        await world.check(expected, where.lun, command, data)


@dataclass(frozen=True)
class WriteSame:
    where: Range
    size: int
    seed: int
    unmap: bool
    ndob: bool

    async def run(self, world: World) -> None:
        where = self.where
        ndob = self.ndob and self.size == 16 and self.unmap
        block = bytes(BLOCK) if ndob else bytes((self.seed,)) * BLOCK
        flags = (0x08 if self.unmap else 0) | (0x01 if ndob else 0)
        expected = GOOD
        if not where.exists:
            expected = Expected(OUT_OF_RANGE)
        else:
            world.disks[where.lun].write(where.lba, block * where.blocks)
        command = cdb(WRITE_SAME, self.size, where.lba, where.blocks, flags)
        await world.check(expected, where.lun, command, b"" if ndob else block)


@dataclass(frozen=True)
class Unmap:
    lun: int
    extents: tuple[tuple[int, int], ...]

    async def run(self, world: World) -> None:
        body = copies.ranges(self.extents)
        data = be(len(body) + 6, 2) + be(len(body), 2) + bytes(4) + body
        command = b"\x42" + bytes(6) + be(len(data), 2) + b"\0"
        disk = world.disks[self.lun]
        for lba, blocks in self.extents:
            disk.touch(lba, blocks)
        expected = Expected(OUT_OF_RANGE)
        if all(lba + blocks <= BLOCKS for lba, blocks in self.extents):
            expected = GOOD
            for lba, blocks in self.extents:
                disk.write(lba, bytes(blocks * BLOCK))
        await world.check(expected, self.lun, command, data)


@dataclass(frozen=True)
class CompareAndWrite:
    where: Range
    seed: int
    spoiled: int | None

    async def run(self, world: World) -> None:
        where, new, disk = self.where, self.where.fill(self.seed), world.disks[self.where.lun]
        compared = bytearray(disk.read(where.lba, where.blocks) if where.exists else new)
        expected = GOOD if where.exists else Expected(OUT_OF_RANGE)
        offset = None
        if where.exists:
            # For tokens, even a failed comparison is a write.
            disk.touch(where.lba, where.blocks)
            if self.spoiled is not None:
                offset = self.spoiled % len(compared)
                compared[offset] ^= 1
                expected = Expected(MISCOMPARE)
            else:
                disk.write(where.lba, new)
        command = b"\x89\0" + be(where.lba, 8) + bytes(3) + be(where.blocks, 1) + bytes(2)
        result = await world.check(expected, where.lun, command, bytes(compared) + new)
        if offset is not None:
            assert result.condition is not None
            assert result.condition.information == offset


@dataclass(frozen=True)
class GetLbaStatus:
    lun: int
    lba: int

    async def run(self, world: World) -> None:
        command = b"\x9e\x12" + be(self.lba, 8) + be(4096, 4) + bytes(2)
        expected = Expected(data=None) if self.lba < BLOCKS else Expected(OUT_OF_RANGE)
        result = await world.check(expected, self.lun, command, data_in=4096)
        at = self.lba
        for offset in range(8, len(result.data), 16):
            lba = int.from_bytes(result.data[offset : offset + 8], "big")
            blocks = int.from_bytes(result.data[offset + 8 : offset + 12], "big")
            assert lba == at
            assert blocks
            if result.data[offset + 12] == 1:
                # Deallocated: only what reads as zeros may be.
                assert not any(world.disks[self.lun].read(lba, blocks))
            at = lba + blocks
        if result.data:
            assert at == BLOCKS


@dataclass(frozen=True)
class ExtendedCopy:
    segments: tuple[Segment, ...]
    lid4: bool

    async def run(self, world: World) -> None:
        expected = GOOD
        base = 1 if self.lid4 else 0
        encoded = [
            Segment(
                s.source + base, s.destination + base, s.blocks, s.source_lba, s.destination_lba
            ).encode()
            for s in self.segments
        ]
        for s in self.segments:
            world.disks[s.destination].touch(s.destination_lba, s.blocks)
        for s in self.segments:
            if max(s.source_lba, s.destination_lba) + s.blocks > BLOCKS:
                expected = Expected(COPY_ABORTED)
                break
            data = world.disks[s.source].read(s.source_lba, s.blocks)
            world.disks[s.destination].write(s.destination_lba, data)
        build = copies.lid4 if self.lid4 else copies.lid1
        parameters = build(world.targets, encoded)
        command = copies.extended_copy(parameters, int(self.lid4))
        await world.check(expected, 0, command, parameters)


@dataclass(frozen=True)
class Populate:
    lun: int
    extents: tuple[tuple[int, int], ...]

    async def run(self, world: World) -> None:
        expected, end = GOOD, 0
        for lba, blocks in sorted(self.extents):
            if lba < end:
                expected = Expected(INVALID_PARAMETER)
            end = lba + blocks
        if expected is GOOD and end > BLOCKS:
            expected = Expected(OUT_OF_RANGE)
        world.list_id += 1
        data = copies.populate(self.extents)
        command = copies.token_cdb(0x10, world.list_id, len(data))
        await world.check(expected, self.lun, command, data)
        if expected is GOOD:
            disk = world.disks[self.lun]
            content = await copies.fetch_token(world.initiator, world.list_id, self.lun)
            token = ModelToken(disk, self.extents, content)
            disk.tokens.append(token)
            world.tokens.append(token)


@dataclass(frozen=True)
class WriteUsing:
    """WRITE USING TOKEN with one of the tokens, or with that of all zeros."""

    lun: int
    extents: tuple[tuple[int, int], ...]
    choice: int
    offset: int

    async def run(self, world: World) -> None:
        tokens: list[ModelToken | None] = [None, *world.tokens]
        token = tokens[self.choice % len(tokens)]
        disk = world.disks[self.lun]
        expected = self._expected(disk, token)
        if expected is GOOD:
            wanted = sum(blocks for _, blocks in self.extents) * BLOCK
            content = bytes(wanted)
            if token is not None:
                content = token.content()[self.offset * BLOCK :]
            for lba, blocks in self.extents:
                part, content = content[: blocks * BLOCK], content[blocks * BLOCK :]
                disk.write(lba, part)
        world.list_id += 1
        data = copies.write_using(
            copies.ZERO_TOKEN if token is None else token.data, self.extents, offset=self.offset
        )
        command = copies.token_cdb(0x11, world.list_id, len(data))
        await world.check(expected, self.lun, command, data)

    def _expected(self, disk: ModelDisk, token: ModelToken | None) -> Expected:
        end = 0
        for lba, blocks in sorted(self.extents):
            if lba < end:
                return Expected(INVALID_PARAMETER)
            end = lba + blocks
        if end > BLOCKS:
            return Expected(OUT_OF_RANGE)
        if token is None:
            return GOOD
        if not token.valid:
            return Expected(TOKEN_REVOKED)
        size = sum(blocks for _, blocks in token.extents)
        if self.offset >= size:
            return Expected(INVALID_PARAMETER)
        if token.disk is disk and self._reads_what_it_writes(token):
            return Expected(INVALID_PARAMETER)
        return GOOD

    def _reads_what_it_writes(self, token: ModelToken) -> bool:
        source = [lba + n for lba, blocks in token.extents for n in range(blocks)]
        target = [lba + n for lba, blocks in self.extents for n in range(blocks)]
        source = source[self.offset :][: len(target)]
        return bool(set(source) & set(target[: len(source)]))


# What hypothesis chooses from

luns = st.integers(0, 1)
lbas = st.integers(0, BLOCKS - 1) | st.sampled_from((BLOCKS - 1, BLOCKS, BLOCKS + 3))
seeds = st.sampled_from((0, 0, 1, 0x55, 0xAA, 0xFF))
ranges = st.builds(Range, luns, lbas, st.integers(1, 20))
extents = st.lists(st.tuples(lbas, st.integers(1, 12)), min_size=1, max_size=3).map(tuple)
flags = st.sampled_from((0, FUA))
segments = st.builds(Segment, luns, luns, st.integers(1, 20), lbas, lbas)

operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Read, ranges, st.sampled_from(sorted(READ))),
    st.builds(Write, ranges, st.just(WRITE), st.sampled_from(sorted(WRITE)), seeds, flags),
    st.builds(
        Write,
        ranges,
        st.just(WRITE_AND_VERIFY),
        st.sampled_from(sorted(WRITE_AND_VERIFY)),
        seeds,
        st.sampled_from((0, 0x02)),
    ),
    st.builds(WriteAtomic, ranges, seeds),
    st.builds(OrWrite, ranges, seeds),
    st.builds(
        Verify,
        ranges,
        st.sampled_from(sorted(VERIFY)),
        st.sampled_from(sorted(BYTCHK)),
        st.booleans(),
    ),
    st.builds(
        WriteSame,
        ranges,
        st.sampled_from(sorted(WRITE_SAME)),
        seeds,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(Unmap, luns, extents),
    st.builds(CompareAndWrite, ranges, seeds, st.none() | st.integers(0, 1 << 16)),
    st.builds(GetLbaStatus, luns, lbas),
    st.builds(ExtendedCopy, st.lists(segments, min_size=1, max_size=3).map(tuple), st.booleans()),
    st.builds(Populate, luns, extents),
    st.builds(WriteUsing, luns, extents, st.integers(0, 8), st.integers(0, 6)),
)


async def play(sequence: Sequence[Operation], parameters: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with target(directory) as system:
            devices = [
                await system.add_disk(disk, size=BLOCK * BLOCKS, thin_provisioned=1, **parameters)
                for disk in ("one", "two")
            ]
            world = World(
                system.initiator(),
                [directory / device.name for device in devices],
                [copies.target_descriptor(device) for device in devices],
            )
            for operation in sequence:
                await operation.run(world)
                world.compare()
                verdicts.check(system.scst)


@pytest.mark.slow
@pytest.mark.parametrize(
    "parameters",
    [{}, {"write_through": 1}, {"async": 1, "o_direct": 1}],
    ids=["cached", "write_through", "o_direct"],
)
@settings(max_examples=60, deadline=None)
@given(sequence=st.lists(operations, min_size=1, max_size=20))
@pytest.mark.each_engine
def test_disks_and_models_agree(
    sequence: Sequence[Operation], parameters: dict[str, object]
) -> None:
    trio.run(play, sequence, parameters)
