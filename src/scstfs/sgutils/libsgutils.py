"""Loading libsgutils2 (its ABI, through cffi; the headers are sg_lib.h and sg_pt.h)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

#: Sonames, the newest first: most distributions have the release in the name, as the upstream build
#: does. The declarations below are the same in all of these releases.
SONAMES: Final = (
    "libsgutils2-1.49.so.2",
    "libsgutils2-1.48.so.2",
    "libsgutils2-1.47.so.2",
    "libsgutils2-1.46.so.2",
    "libsgutils2.so.2",
)

_DECLARATIONS: Final = """
const char * sg_lib_version(void);
int sg_get_sense_str(const char * leadin, const uint8_t * sense, int sense_length,
                     bool raw, int length, char * text);
void sg_get_opcode_sa_name(uint8_t code, int service_action, int device_type,
                           int length, char * text);

struct sg_pt_base;
struct sg_pt_base * construct_scsi_pt_obj(void);
void destruct_scsi_pt_obj(struct sg_pt_base * pt);
void set_scsi_pt_cdb(struct sg_pt_base * pt, const uint8_t * cdb, int length);
void set_scsi_pt_sense(struct sg_pt_base * pt, uint8_t * sense, int length);
void set_scsi_pt_data_in(struct sg_pt_base * pt, uint8_t * data, int length);
void set_scsi_pt_data_out(struct sg_pt_base * pt, const uint8_t * data, int length);
int do_scsi_pt(struct sg_pt_base * pt, int fd, int timeout_seconds, int verbose);
int get_scsi_pt_result_category(const struct sg_pt_base * pt);
int get_scsi_pt_resid(const struct sg_pt_base * pt);
int get_scsi_pt_status_response(const struct sg_pt_base * pt);
int get_scsi_pt_sense_len(const struct sg_pt_base * pt);
int get_scsi_pt_os_err(const struct sg_pt_base * pt);
int get_scsi_pt_transport_err(const struct sg_pt_base * pt);
"""


class LibraryMissing(Exception):  # noqa: N818 - the error is that it is missing
    """libsgutils2 is not installed."""

    def __init__(self) -> None:
        super().__init__(f"libsgutils2 is not installed (looked for {', '.join(SONAMES)})")


@dataclass(frozen=True, slots=True)
class SgLibrary:
    """The functions, and cffi's object to make arguments with."""

    functions: Any
    ffi: Any

    @property
    def version(self) -> str:
        """Release and date of the library."""
        text: bytes = self.ffi.string(self.functions.sg_lib_version())
        return text.decode()


@functools.cache
def load() -> SgLibrary:
    """The library; raises LibraryMissing."""
    # Imported here, so that only programs that need the library pay for it.
    import cffi

    ffi = cffi.FFI()
    ffi.cdef(_DECLARATIONS)
    for soname in SONAMES:
        try:
            return SgLibrary(ffi.dlopen(soname), ffi)
        except OSError:
            continue
    raise LibraryMissing


def available() -> bool:
    """Return whether the library can be used."""
    try:
        load()
    except LibraryMissing:
        return False
    return True
