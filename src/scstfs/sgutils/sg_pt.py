"""SCSI commands to the host's own devices (SG_IO, through sg_pt.h)."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any, Final

from scstfs.sgutils.libsgutils import SgLibrary, load

DEFAULT_TIMEOUT: Final = 60
_SENSE_ROOM: Final = 252

# What do_scsi_pt returns, besides negated errnos.
_STARTED: Final = 0
_TIMEOUT: Final = 2
# Result categories.
_TRANSPORT_ERROR: Final = 3
_OS_ERROR: Final = 4


class TransportError(OSError):
    """The command did not reach the device, or its result was lost (EIO).

    ``host_status`` is from the host adapter's driver: a DID_ number of the kernel's scsi_status.h,
    or 0 if unknown.
    """

    def __init__(self, host_status: int) -> None:
        super().__init__(errno.EIO, f"transport error {host_status:#x}")
        self.host_status = host_status


@dataclass(frozen=True, slots=True)
class PassThroughResult:
    """The result of a command: status byte, sense data if any, and the amount of data-in."""

    status: int
    sense: bytes
    received: int


def execute(
    fd: int,
    cdb: bytes,
    data_out: bytes | bytearray | memoryview = b"",
    *,
    data_in: bytearray | memoryview | None = None,
    timeout: int = DEFAULT_TIMEOUT,
) -> PassThroughResult:
    """Send a command to the SCSI device behind ``fd``; blocks up to ``timeout`` seconds.

    ``data_in`` is the buffer to read into; a command has either that or ``data_out``. Raises
    LibraryMissing, ValueError for data both ways, and OSError: ENOTTY if it is not a SCSI device,
    ETIMEDOUT, TransportError.
    """
    if data_out and data_in:
        raise ValueError("a command has data in one direction only")
    library = load()
    functions, data = library.functions, data_in or data_out
    pt = functions.construct_scsi_pt_obj()
    if pt == library.ffi.NULL:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    try:
        # The library keeps only pointers. Release the memory here, not together with an exception
        # and its traceback: Python's garbage collector crashes on memory that is in use.
        with (
            library.ffi.from_buffer("uint8_t[]", cdb) as command,
            library.ffi.from_buffer("uint8_t[]", data, require_writable=bool(data_in)) as memory,
        ):
            functions.set_scsi_pt_cdb(pt, command, len(cdb))
            if data_in:
                functions.set_scsi_pt_data_in(pt, memory, len(data))
            elif data_out:
                functions.set_scsi_pt_data_out(pt, memory, len(data))
            return _execute(library, pt, fd, len(data_in or b""), timeout)
    finally:
        functions.destruct_scsi_pt_obj(pt)


def _execute(library: SgLibrary, pt: Any, fd: int, length: int, timeout: int) -> PassThroughResult:
    functions, ffi = library.functions, library.ffi
    sense = ffi.new("uint8_t[]", _SENSE_ROOM)
    functions.set_scsi_pt_sense(pt, sense, _SENSE_ROOM)
    _check_started(functions.do_scsi_pt(pt, fd, timeout, 0))
    category = functions.get_scsi_pt_result_category(pt)
    status = functions.get_scsi_pt_status_response(pt)
    if category == _OS_ERROR:
        number = functions.get_scsi_pt_os_err(pt)
        raise OSError(number, os.strerror(number))
    # If there is a status, the device has answered, even if the host reports an error: Linux marks
    # RESERVATION CONFLICT as an error of the transport.
    if category == _TRANSPORT_ERROR and not status:
        raise TransportError(functions.get_scsi_pt_transport_err(pt))
    return PassThroughResult(
        status=status,
        sense=bytes(ffi.buffer(sense, functions.get_scsi_pt_sense_len(pt))),
        received=min(max(length - functions.get_scsi_pt_resid(pt), 0), length),
    )


def _check_started(result: int) -> None:
    if result == _STARTED:
        return
    number = {_TIMEOUT: errno.ETIMEDOUT}.get(result, -result if result < 0 else errno.EINVAL)
    raise OSError(number, os.strerror(number))
