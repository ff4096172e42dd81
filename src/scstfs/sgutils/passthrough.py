"""SCSI commands to the host's own devices (SG_IO, through sg_pt.h)."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any, Final

from scstfs.sgutils.library import Library, load

DEFAULT_TIMEOUT: Final = 60
_SENSE_ROOM: Final = 252

# What do_scsi_pt returns, besides negated errnos.
_STARTED: Final = 0
_TIMEOUT: Final = 2
# Result categories.
_TRANSPORT_ERROR: Final = 3
_OS_ERROR: Final = 4


@dataclass(frozen=True, slots=True)
class PassThroughResult:
    """A command's end: the status byte, sense data if there is any, and data-in."""

    status: int
    sense: bytes
    data: bytes


def execute(
    fd: int,
    cdb: bytes,
    data_out: bytes = b"",
    *,
    data_in: int = 0,
    timeout: int = DEFAULT_TIMEOUT,
) -> PassThroughResult:
    """Have the SCSI device behind ``fd`` execute a command; blocks up to ``timeout`` seconds.

    ``data_in`` is how many bytes to read at most; a command has either that or ``data_out``.
    Raises LibraryMissing, ValueError for data both ways, and OSError: ENOTTY for what is no SCSI
    device, ETIMEDOUT, EIO for errors of the transport.
    """
    if data_out and data_in:
        raise ValueError("a command has data in one direction only")
    library = load()
    pt = library.functions.construct_scsi_pt_obj()
    if pt == library.ffi.NULL:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    try:
        return _execute(library, pt, fd, cdb, data_out, data_in, timeout)
    finally:
        library.functions.destruct_scsi_pt_obj(pt)


def _execute(
    library: Library, pt: Any, fd: int, cdb: bytes, data_out: bytes, data_in: int, timeout: int
) -> PassThroughResult:
    functions, ffi = library.functions, library.ffi
    # These must live until the command is over: the library keeps pointers only.
    command = ffi.from_buffer("uint8_t[]", cdb)
    sense, incoming = ffi.new("uint8_t[]", _SENSE_ROOM), ffi.new("uint8_t[]", data_in)
    outgoing = ffi.from_buffer("uint8_t[]", data_out)
    functions.set_scsi_pt_cdb(pt, command, len(cdb))
    functions.set_scsi_pt_sense(pt, sense, _SENSE_ROOM)
    if data_in:
        functions.set_scsi_pt_data_in(pt, incoming, data_in)
    elif data_out:
        functions.set_scsi_pt_data_out(pt, outgoing, len(data_out))
    _check_started(functions.do_scsi_pt(pt, fd, timeout, 0))
    category = functions.get_scsi_pt_result_category(pt)
    if category == _OS_ERROR:
        number = functions.get_scsi_pt_os_err(pt)
        raise OSError(number, os.strerror(number))
    if category == _TRANSPORT_ERROR:
        problem = functions.get_scsi_pt_transport_err(pt)
        raise OSError(errno.EIO, f"transport error {problem:#x}")
    arrived = max(data_in - functions.get_scsi_pt_resid(pt), 0)
    return PassThroughResult(
        status=functions.get_scsi_pt_status_response(pt),
        sense=bytes(ffi.buffer(sense, functions.get_scsi_pt_sense_len(pt))),
        data=bytes(ffi.buffer(incoming, arrived)),
    )


def _check_started(result: int) -> None:
    if result == _STARTED:
        return
    number = {_TIMEOUT: errno.ETIMEDOUT}.get(result, -result if result < 0 else errno.EINVAL)
    raise OSError(number, os.strerror(number))
