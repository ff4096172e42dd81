"""Whatever an initiator sends gives data, a status or valid sense data: never another exception."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from scstfs.scsi import alua, mode_text, pr, sense, tokens, xcopy
from scstfs.scsi.cdb import opcode_table
from scstfs.scsi.commands import COMMANDS, EXTENSIONS
from scstfs.scsi.identity import default_identity
from scstfs.scsi.modes import ModePages
from scstfs.scsi.opcodes import DeviceType, Direction
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import Status
from scstfs.scsi.transport_id import TransportId
from scstfs.scsi.unit import LogicalUnit, Port, ThinLimits, TokenLimits

from .extended_unit import ExtendedUnit
from .recorded_unit import Answer

LIMITS = TokenLimits(8, 64, 32, 30, 3600)
KNOWN = sorted({row.code for row in (*COMMANDS, *EXTENSIONS)})
SERVED = [row for row in (*COMMANDS, *EXTENSIONS) if row.usage is not None]


def small_unit(device_type: int, thin: bool, protection: int) -> ExtendedUnit:
    unit = LogicalUnit(
        identity=default_identity(b"any"),
        device_type=device_type,
        blocks=64,
        thin=ThinLimits(32) if thin else None,
        tokens=LIMITS if thin else None,
        protection=protection,
    )
    modes = ModePages(device_type=device_type)
    return ExtendedUnit(unit, Port(), modes, extensions=True)


UNITS = (
    small_unit(DeviceType.DISK, False, 0),
    small_unit(DeviceType.DISK, True, 0),
    small_unit(DeviceType.DISK, False, 1),
    small_unit(DeviceType.DISK, False, 2),
    small_unit(DeviceType.CD_ROM, False, 0),
)

# CDBs with plausible values: bytes under the usage mask of a command that we serve.
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
anything = st.builds(
    lambda code, rest: bytes((code,)) + rest,
    st.one_of(st.sampled_from(KNOWN), st.integers(0, 255)),
    st.binary(max_size=31),
)
cdbs = st.one_of(plausible, small_fields, anything)


def check_sense(encoded: bytes) -> None:
    decoded = sense.decode(encoded)
    assert decoded is not None
    assert len(encoded) in (18, 8, 16, 20, 28)
    assert decoded.key is not sense.SenseKey.NO_SENSE
    for descriptor in (False, True):
        again = sense.decode(decoded.encode(descriptor))
        assert again is not None
        assert again.triple == decoded.triple


def check_answer(answer: Answer) -> None:
    assert answer.status in tuple(Status)
    if answer.status == Status.CHECK_CONDITION:
        check_sense(answer.sense)
        assert answer.data == b""
    else:
        assert answer.sense == b""


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(UNITS),
    cdbs,
    st.binary(max_size=2048),
    st.sampled_from(Direction),
)
def test_executing(unit: ExtendedUnit, cdb: bytes, data: bytes, expected: Direction) -> None:
    check_answer(unit.execute(cdb, expected, data, len(data)))
    # The same with the CDB's direction, so that more than the direction is checked.
    for direction in Direction:
        check_answer(unit.execute(cdb, direction, data, 4096))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 31), st.binary(min_size=1, max_size=40), st.integers(9, 12))
def test_decoding_for_any_device_type(device_type: int, cdb: bytes, shift: int) -> None:
    for extensions in (False, True):
        table = opcode_table(device_type, extensions=extensions)
        try:
            decoded = table.decode(cdb, shift)
            decoded.settle(decoded.direction, decoded.length)
        except CheckCondition as refused:
            check_sense(refused.sense.encode())
        else:
            assert decoded.length >= 0
            assert decoded.lba is None or decoded.lba >= 0


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 8),
    st.binary(min_size=8, max_size=8),
    st.binary(max_size=400),
    st.booleans(),
)
def test_persistent_reserve_out(action: int, rest: bytes, data: bytes, exact: bool) -> None:
    cdb = bytes((0x5F, action)) + rest
    if exact:
        cdb = cdb[:5] + len(data).to_bytes(4, "big") + cdb[9:]
    try:
        request = pr.decode_out(cdb, data)
        for port in request.transport_ids():
            assert port.same_port(port) or port.protocol == 5
            assert port.text is not None
        if request.action is pr.OutAction.REGISTER_AND_MOVE:
            request.moved_to()
    except CheckCondition as refused:
        check_sense(refused.sense.encode())


@given(st.binary(min_size=24, max_size=80), st.binary(min_size=24, max_size=80))
def test_comparing_transport_ids(left: bytes, right: bytes) -> None:
    one, other = TransportId(left), TransportId(right)
    assert one.same_port(other) == other.same_port(one)
    assert isinstance(one.text, str)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_extended_copy(data: bytes, lid4: bool) -> None:
    unit = UNITS[0]
    if lid4:
        cdb = bytes((0x83, 1)) + bytes(8) + len(data).to_bytes(4, "big") + bytes(2)
        data = b"\x01" + data[1:2] + b"\0\x20" + data[4:16] + b"\xff" + data[17:]
    else:
        cdb = bytes((0x83, 0)) + bytes(8) + len(data).to_bytes(4, "big") + bytes(2)
    check_answer(unit.execute(cdb, Direction.OUT, data, len(data)))


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=6), st.binary(max_size=90))
def test_extended_copy_with_sound_lengths(targets: list[bytes], segments: bytes) -> None:
    listed = b"".join(b"\xe4" + target[1:] for target in targets)
    head = bytes((0, 0x18)) + len(listed).to_bytes(2, "big") + bytes(4)
    data = head + len(segments).to_bytes(4, "big") + bytes(4) + listed + segments
    cdb = bytes((0x83, 0)) + bytes(8) + len(data).to_bytes(4, "big") + bytes(2)
    lookup = xcopy.Lookup[LogicalUnitStub](find=lambda name: STUB, accessible=lambda device: True)
    try:
        header = xcopy.decode_header(cdb, data)
        assert header is not None
        xcopy.decode_segments(header, data, lookup)
    except CheckCondition as refused:
        check_sense(refused.sense.encode())


class LogicalUnitStub:
    block_size = 512
    read_only = False


STUB = LogicalUnitStub()


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=700))
def test_tokens(cdb: bytes, data: bytes) -> None:
    for decode in (tokens.decode_populate, tokens.decode_write):
        try:
            decode(cdb, data, LIMITS)
        except CheckCondition as refused:
            check_sense(refused.sense.encode())


@settings(max_examples=300)
@given(st.sampled_from((0x15, 0x55)), st.integers(0, 255), st.binary(max_size=80), st.booleans())
def test_mode_select(code: int, flags: int, data: bytes, cd_rom: bool) -> None:
    pages = ModePages(device_type=DeviceType.CD_ROM if cd_rom else DeviceType.DISK)
    try:
        steps = pages.select(bytes((code, flags)) + bytes(8), data)
    except CheckCondition as refused:
        check_sense(refused.sense.encode())
        return
    for step in steps:
        pages.apply(step)
        pages.keep(step)


@given(st.text(alphabet="TASQER_=;\n\0 WITHOUGDLVPXF0123+x", max_size=60))
def test_saved_mode_parameters(text: str) -> None:
    pages = ModePages()
    mode_text.decode(pages, text)
    again = ModePages()
    assert mode_text.decode(again, mode_text.encode(pages))
    assert (again.current, again.write_through) == (pages.current, pages.write_through)


@given(st.binary(max_size=40), st.booleans())
def test_sense_data(data: bytes, descriptor: bool) -> None:
    said = sense.received(data)
    if said is not None:
        again = sense.decode(said.encode_as(descriptor=descriptor))
        assert again is not None
        assert again.triple == said.triple


@given(st.binary(max_size=300))
def test_set_target_port_groups(data: bytes) -> None:
    try:
        changes = list(alua.set_target_port_groups(data))
    except CheckCondition as refused:
        check_sense(refused.sense.encode())
    else:
        assert all(change.group_id for change in changes)
