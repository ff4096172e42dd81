"""EXTENDED COPY (LID1 and LID4), RECEIVE COPY RESULTS and RECEIVE COPY STATUS (SPC-4 6.4, 6.5)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from scstfs.core.command import Command
from scstfs.core.device import Answer
from scstfs.drivers.copying.block_copy import Piece, claims_of
from scstfs.drivers.copying.copies import Copies, CopyRequest, Member
from scstfs.drivers.copying.records import CopyRecord, Form
from scstfs.scsi import tokens, xcopy
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.xcopy import CopyHeader, Lookup, ReceiveAction, Segment

if TYPE_CHECKING:
    from scstfs.core.scst import Scst

#: Bytes of RECEIVE COPY FAILURE DETAILS without the sense data.
_DETAILS: Final = 60
_SENSE_ROOM: Final = 96


class ExtendedCopy:
    """The commands as functions of the opcode table."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    def install(self, scst: Scst) -> None:
        """Make ``scst`` execute the commands."""
        scst.env.descriptors.update(
            {
                "extended_copy": partial(self._understand, xcopy.decode_header, Form.LID1),
                "extended_copy_lid4": partial(
                    self._understand, xcopy.decode_header_lid4, Form.LID4
                ),
            }
        )
        scst.env.commands.update(
            {
                "extended_copy": _extended_copy,
                "extended_copy_lid4": _extended_copy,
                "receive_copy_results": self._receive_copy_results,
                "receive_copy_status_lid4": self._receive_copy_status_lid4,
            }
        )

    def _understand(
        self,
        decode_header: Callable[[bytes, bytes], CopyHeader | None],
        form: Form,
        cmd: Command,
    ) -> None:
        data = bytes(cmd.data)
        header = decode_header(cmd.cdb, data)
        if header is None:
            return
        named = header.usage.identifies
        list_id = header.list_id if named else None
        request = CopyRequest(self._copies, cmd.session, form, list_id, immediate=header.immediate)
        request.record.service_action = cmd.cdb[1] & 0x1F
        cmd.call_when_ended(request.forget_unless_started)
        try:
            segments = xcopy.decode_segments(header, data, self._lookup(cmd))
        except CheckCondition as error:
            if error.sense.segment is not None:
                # The details of a segment that cannot be copied are available.
                request.record.fail(error)
                request.finish()
            raise
        if header.targets_length:
            request.pieces = tuple(_piece(segment, n) for n, segment in enumerate(segments))
            cmd.descriptors = request
            cmd.listed_claims = claims_of(request.pieces)

    def _lookup(self, cmd: Command) -> Lookup[Member]:
        session = cmd.session
        return Lookup(partial(self._copies.find, session), partial(self._copies.may_use, session))

    # Results

    def _receive_copy_results(self, cmd: Command) -> Answer:
        return _RECEIVE[xcopy.check_receive_action(cmd.cdb)](self, cmd)

    def _operating_parameters(self, cmd: Command) -> bytes:
        return xcopy.operating_parameters()

    def _copy_status(self, cmd: Command) -> bytes:
        record = self._find(cmd)
        if record is None:
            raise xcopy.unknown_list_id()
        if record.over:
            self._forget(cmd, record)
        return xcopy.copy_status(record.lid1_status, record.segments, record.bytes_written)

    def _failed_segment_details(self, cmd: Command) -> bytes:
        record = self._find(cmd)
        if record is None or not record.over:
            raise xcopy.unknown_list_id()
        length = cmd.parsed.length
        needed = _DETAILS if record.sense is None else _DETAILS + _SENSE_ROOM
        if not length or length >= needed:
            self._forget(cmd, record)
        encoded = b""
        if record.sense is not None:
            encoded = record.sense.encode(bool(cmd.device.control.d_sense))
        return xcopy.failed_segment_details(record.status, encoded)

    def _find(self, cmd: Command) -> CopyRecord | None:
        return self._copies.records.find(cmd.session, Form.LID1, cmd.cdb[2])

    def _forget(self, cmd: Command, record: CopyRecord) -> None:
        """Forget a result that has been fetched (SPC-3 6.18.2)."""
        self._copies.records.remove(cmd.session, Form.LID1, cmd.cdb[2], record)

    def _receive_copy_status_lid4(self, cmd: Command) -> Answer:
        return tokens.copy_status_lid4(find_lid4(self._copies, cmd).describe())


_RECEIVE: Final = {
    ReceiveAction.COPY_STATUS: ExtendedCopy._copy_status,
    ReceiveAction.OPERATING_PARAMETERS: ExtendedCopy._operating_parameters,
    ReceiveAction.FAILED_SEGMENT_DETAILS: ExtendedCopy._failed_segment_details,
}


def find_lid4(copies: Copies, cmd: Command) -> CopyRecord:
    """The copy that a RECEIVE COPY command of the LID4 form names; raises CheckCondition."""
    list_id = int.from_bytes(cmd.cdb[2:6], "big")
    record = copies.records.find(cmd.session, Form.LID4, list_id)
    if record is None:
        raise tokens.unknown_list_identifier()
    return record


def _extended_copy(cmd: Command) -> Answer:
    request = cmd.descriptors
    if not isinstance(request, CopyRequest):
        # There was nothing to do.
        return b""
    return request.run(cmd)


def _piece(segment: Segment[Member], number: int) -> Piece:
    source, destination = segment.source, segment.destination
    return Piece(
        source=source.device,
        source_offset=segment.source_lba * source.block_size,
        destination=destination.device,
        offset=segment.destination_lba * destination.block_size,
        length=segment.length,
        segment=number,
        descriptor=segment.target_offset,
    )
