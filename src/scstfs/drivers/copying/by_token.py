"""POPULATE TOKEN, WRITE USING TOKEN, RECEIVE ROD TOKEN INFORMATION (SBC-4, SPC-4 6.26)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scstfs.core.command import Command
from scstfs.core.device import Answer, Device
from scstfs.drivers.copying.block_copy import Piece, claims_of
from scstfs.drivers.copying.copies import Copies, CopyRequest
from scstfs.drivers.copying.extended import find_lid4
from scstfs.drivers.copying.records import Form
from scstfs.drivers.copying.token_store import Token, TokenStore
from scstfs.scsi import sense, tokens
from scstfs.scsi.provisioning import LbaRange
from scstfs.scsi.sense import CheckCondition, invalid_field_in_parameter_list
from scstfs.scsi.tokens import OperationStatus, RodType, WriteUsing
from scstfs.scsi.unit import TokenLimits

if TYPE_CHECKING:
    from scstfs.core.scst import Scst

#: Where the parameter list of WRITE USING TOKEN has the offset into the token, and the ranges.
_OFFSET_FIELD: Final = 8
_RANGES_FIELD: Final = 536
#: Designator types by which a token names its device: EUI-64 and NAA.
_IEEE_TYPES: Final = (0x02, 0x03)


@dataclass(frozen=True, slots=True)
class _Span:
    """A run of bytes of a device, or zeros."""

    device: Device | None
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class _Write:
    """A decoded WRITE USING TOKEN."""

    request: CopyRequest
    parameters: WriteUsing
    token: Token | None
    #: Bytes in the ranges; the token may represent fewer.
    wanted: int


class CopyByToken:
    """The commands as functions of the opcode table."""

    def __init__(self, copies: Copies, store: TokenStore) -> None:
        self._copies = copies
        self._store = store

    def install(self, scst: Scst) -> None:
        """Make ``scst`` execute the commands."""
        scst.env.descriptors["populate_token"] = _understand_populate
        scst.env.descriptors["write_using_token"] = self._understand_write
        scst.env.commands["populate_token"] = self._populate
        scst.env.commands["write_using_token"] = self._write
        scst.env.commands["receive_rod_token_information"] = self._information

    # POPULATE TOKEN

    def _populate(self, cmd: Command) -> Answer:
        parameters = cmd.descriptors
        if not isinstance(parameters, tokens.Populate):
            return b""
        device = cmd.device
        request = CopyRequest(self._copies, cmd.session, Form.LID4, tokens.list_identifier(cmd.cdb))
        cmd.call_when_ended(request.forget_unless_started)
        device.copy_blocks()
        _check_range(device, parameters.extents)
        unit = device.describe()
        token = self._store.create(
            device, parameters.extents, parameters.timeout, unit, _designator(device)
        )
        record = request.record
        record.service_action = cmd.cdb[1] & 0x1F
        record.block_size = 1 << device.block_shift
        record.token_blocks = token.blocks
        record.segments = len(parameters.extents)
        record.tokens.append(token.data)
        request.finish()
        return b""

    # WRITE USING TOKEN

    def _understand_write(self, cmd: Command) -> None:
        limits = _limits(cmd.device)
        parameters = tokens.decode_write(cmd.cdb, bytes(cmd.data), limits)
        if parameters is None:
            return
        device, shift = cmd.device, cmd.device.block_shift
        _check_range(device, parameters.extents)
        wanted = sum(extent.blocks for extent in parameters.extents) << shift
        token = None
        source: Iterable[_Span] = (_Span(None, 0, wanted),)
        if tokens.token_type(parameters.token) != RodType.BLOCK_ZERO:
            token = self._store.find(parameters.token)
            source = _behind(token, device, parameters.offset)
        pieces = tuple(_pair(source, device, parameters.extents))
        if any(_overlaps_itself(piece, pieces) for piece in pieces):
            # The write would revoke its own token.
            raise invalid_field_in_parameter_list(_RANGES_FIELD)
        request = CopyRequest(
            self._copies,
            cmd.session,
            Form.LID4,
            tokens.list_identifier(cmd.cdb),
            immediate=parameters.immediate,
        )
        cmd.call_when_ended(request.forget_unless_started)
        request.pieces = pieces
        request.record.service_action = cmd.cdb[1] & 0x1F
        request.record.block_size = 1 << shift
        cmd.descriptors = _Write(request, parameters, token, wanted)
        cmd.listed_claims = claims_of(pieces)

    def _write(self, cmd: Command) -> Answer:
        write = cmd.descriptors
        if not isinstance(write, _Write):
            return b""
        token, record = write.token, write.request.record
        if token is not None:
            # The token may have become invalid while the command waited.
            self._store.find(token.data)
            self._store.use(token)

        def over(good: bool) -> None:
            if good and record.bytes_written < write.wanted:
                record.result = OperationStatus.RESIDUAL
            if token is not None:
                self._store.used(token, delete=write.parameters.delete)

        return write.request.run(cmd, over)

    # Results

    def _information(self, cmd: Command) -> Answer:
        record = find_lid4(self._copies, cmd)
        return tokens.rod_token_information(record.describe(), record.tokens)


def _understand_populate(cmd: Command) -> None:
    cmd.descriptors = tokens.decode_populate(cmd.cdb, bytes(cmd.data), _limits(cmd.device))


def _limits(device: Device) -> TokenLimits:
    limits = device.describe().tokens
    if limits is None:
        raise CheckCondition(sense.INVALID_OPCODE)
    return limits


def _check_range(device: Device, extents: Iterable[LbaRange]) -> None:
    if any(extent.lba + extent.blocks > device.blocks for extent in extents):
        raise CheckCondition(sense.LBA_OUT_OF_RANGE)


def _designator(device: Device) -> bytes:
    """A designation descriptor of the type that tokens contain."""
    names = device.identifiers()
    return next((name for name in names if name[1] & 0x0F in _IEEE_TYPES), names[-1])


def _behind(token: Token, device: Device, offset: int) -> Iterator[_Span]:
    """The data of ``token`` from block ``offset`` on; raises CheckCondition.

    Its blocks must be as large as those of ``device``.
    """
    shift = token.device.block_shift
    if shift != device.block_shift:
        raise CheckCondition(sense.INVALID_TOKEN)
    if offset >= token.blocks:
        raise invalid_field_in_parameter_list(_OFFSET_FIELD)
    return _spans(token, offset)


def _spans(token: Token, offset: int) -> Iterator[_Span]:
    shift = token.device.block_shift
    for extent in token.extents:
        skipped = min(offset, extent.blocks)
        offset -= skipped
        if skipped < extent.blocks:
            start, blocks = extent.lba + skipped, extent.blocks - skipped
            yield _Span(token.device, start << shift, blocks << shift)


def _pair(source: Iterable[_Span], device: Device, extents: Iterable[LbaRange]) -> Iterator[Piece]:
    """Distribute ``source`` over the ranges of ``device``, as far as its data reaches."""
    shift, spans = device.block_shift, iter(source)
    span = next(spans, None)
    for number, extent in enumerate(extents):
        offset, room = extent.lba << shift, extent.blocks << shift
        while room and span is not None:
            length = min(room, span.length)
            yield Piece(span.device, span.offset, device, offset, length, number)
            offset, room = offset + length, room - length
            span = _Span(span.device, span.offset + length, span.length - length)
            if not span.length:
                span = next(spans, None)


def _overlaps_itself(piece: Piece, pieces: Iterable[Piece]) -> bool:
    """Return whether ``piece`` is read from where some of the pieces are written."""
    end = piece.source_offset + piece.length
    return piece.source is piece.destination and any(
        other.offset < end and piece.source_offset < other.offset + other.length for other in pieces
    )
