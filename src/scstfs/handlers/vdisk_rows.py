"""What there is to set and to see of a virtual device: a row each, and which handlers have it.

`SETTINGS` are the parameters of ``add_device``; usage text, accepted parameters, attributes, the
``[key]`` rule and docs/tree.md are made of them. `OTHERS` are attributes that are no parameters.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from scstfs.handlers import identity_rows, medium_change, protection_rows
from scstfs.handlers.settings import (
    MIN_BLOCK_SHIFT,
    NULLIO_SIZE,
    VdiskParameter,
    VdiskSettings,
    take_block_size,
    take_choice,
    take_dif_filename,
    take_dif_mode,
    take_dif_static_app_tag,
    take_dif_type,
    take_filename,
    take_flag,
    take_nonzero,
    take_numa_node_id,
    take_size,
    take_t10_dev_id,
)
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi import sense
from scstfs.sysfs.attr import Attr, spaced_line
from scstfs.sysfs.directory import DirType
from scstfs.sysfs.errors import SysfsError, failed, invalid
from scstfs.sysfs.numbers import kstrtoul
from scstfs.sysfs.text import BLANKS, decode
from scstfs.sysfs.values import (
    any_nonzero,
    anything,
    flag,
    int32,
    leading_decimal,
    truncated,
    zero_or_one,
)

_Row = Attr[VdiskDevice, Any]

FILEIO: Final = "vdisk_fileio"
BLOCKIO: Final = "vdisk_blockio"
NULLIO: Final = "vdisk_nullio"
CDROM: Final = "vcdrom"

_FILE_OR_BLOCK: Final = (FILEIO, BLOCKIO)
#: Devices without a file: their size is a parameter.
_SIZED: Final = (NULLIO,)
_DISKS: Final = (*_FILE_OR_BLOCK, *_SIZED)
_ALL: Final = (*_DISKS, CDROM)
_MIB_SHIFT: Final = 20
_ANY_NUMBER: Final = "0, or another number for 1"
# The size of the buffer that SCST copies a number to before it parses it.
_SMALL_BUFFER: Final = 15


def _fixed(
    name: str, reads: str, since: str, get: Callable[[VdiskDevice], bool] | None = None
) -> _Row:
    """A switch that is chosen when the device is created, in the setting of the same name."""
    default = getattr(VdiskSettings(), name)

    def value(device: VdiskDevice) -> bool:
        return bool(getattr(device.settings, name)) if get is None else get(device)

    return Attr(
        name=name,
        mode=0o444,
        show=lambda device: flag(value(device)),
        key=lambda device: value(device) is not default,
        since=since,
        reads=f"1 if {reads}, else 0",
        key_when=flag(not default),
    )


def _switch(
    name: str,
    reads: str,
    effect: str,
    get: Callable[[VdiskDevice], bool],
    put: Callable[[VdiskDevice, bool], Awaitable[None] | None],
    parse: Callable[[bytes], bool],
    since: str,
    *,
    default: bool = False,
    queued: bool = False,
    accepts: str = "0 or 1",
) -> _Row:
    """A switch that can be changed."""
    return Attr(
        name=name,
        mode=0o644,
        show=lambda device: flag(get(device)),
        key=lambda device: get(device) is not default,
        # SCST parses in the queued work where there is one, so that a refusal counts as one.
        parse=bytes if queued else parse,
        store=(lambda device, data: put(device, parse(data))) if queued else put,
        queued=queued,
        since=since,
        reads=f"1 if {reads}, else 0",
        accepts=accepts,
        refuses="EINVAL: anything else",
        key_when=flag(not default),
        effect=effect,
    )


# Size


def _sizes(name: str, shift: int, unit: str) -> dict[str, _Row]:
    """The size is the device's own where there is no file that has one."""
    writable = (BLOCKIO, *_SIZED)
    return {handler: _size(name, shift, unit, writable=handler in writable) for handler in _ALL}


def _size(name: str, shift: int, unit: str, *, writable: bool) -> _Row:
    return Attr(
        name=name,
        mode=0o644 if writable else 0o444,
        show=lambda device: str(device.medium.size >> shift),
        key=None if shift else _is_own_size,
        parse=bytes if writable else None,
        store=(lambda device, data: _set_size(device, data, shift)) if writable else None,
        queued=writable,
        since="2.0" if shift else "3.0",
        reads=f"the size in {unit}",
        accepts="a decimal number; what follows it is ignored" if writable else "",
        refuses="EINVAL: no number, too large, no multiple of the block size" if writable else "",
        key_when="" if shift else "always, but for a vdisk_nullio of the default size",
        effect="unit attention CAPACITY DATA HAS CHANGED" if writable else "",
    )


def _is_own_size(device: VdiskDevice) -> bool:
    return device.medium.size != NULLIO_SIZE or device.kind.size != NULLIO_SIZE


def _set_size(device: VdiskDevice, data: bytes, shift: int) -> None:
    number = leading_decimal(data)
    if number > (1 << 64) - 1 >> shift:
        raise invalid(f"Size {number} is too large")
    medium_change.set_size(device, number << shift)


async def _resync_size(device: VdiskDevice, _value: None) -> None:
    # SCST has the file open as long as some session, be it the copy manager's, has the device.
    if not device.tgt_devs:
        raise SysfsError(errno.EMEDIUMTYPE, f"{device.name} is not open")
    await medium_change.resync_size(device)


# Flags


def _set_opt_trans_len(device: VdiskDevice, length: int) -> None:
    if length % (1 << device.block_shift):
        raise invalid(f"{length} is not a multiple of the block size")
    device.medium.opt_trans_len = int32(length)
    device.medium.opt_trans_len_set = True


def _set_expl_alua(device: VdiskDevice, value: bool) -> None:
    device.explicit_alua = value


def _set_cluster_mode(device: VdiskDevice, value: bool) -> None:
    # Mode pages cannot be changed in cluster mode.
    device.cluster_mode = device.modes.cluster_mode = value


def _set_read_zero(device: VdiskDevice, value: bool) -> None:
    # Reads of a vdisk_nullio give zeros in any case.
    device.read_zero = value


def _set_async(device: VdiskDevice, value: bool) -> None:
    device.settings.asynchronous = value


def _set_lb_per_pb_exp(device: VdiskDevice, value: bool) -> None:
    device.settings.lb_per_pb_exp = value


def _set_bind_alua_state(device: VdiskDevice, value: bool) -> None:
    device.settings.bind_alua_state = value


def _set_active(device: VdiskDevice, value: bool) -> Awaitable[None] | None:
    if value is device.medium.active:
        return None
    return medium_change.activate(device) if value else medium_change.deactivate(device)


# Files


def _set_filename(device: VdiskDevice, data: bytes) -> None:
    if device.medium.active:
        raise invalid(f"{device.name}: the filename of an active device cannot be changed")
    name = decode(data.strip(BLANKS))
    if not name.startswith("/"):
        raise invalid(f'Path "{name}" is not absolute')
    device.settings.filename = name


def _set_medium(device: VdiskDevice, data: bytes) -> Awaitable[None]:
    return medium_change.change_medium(device, decode(data.strip(BLANKS)) or None)


def _filename(
    store: Callable[[VdiskDevice, bytes], Awaitable[None] | None],
    accepts: str,
    refuses: str,
    effect: str,
) -> _Row:
    return Attr(
        name="filename",
        mode=0o644,
        show=lambda device: device.settings.filename or "none",
        key=lambda device: device.settings.filename is not None,
        render=spaced_line,
        parse=bytes,
        store=store,
        queued=True,
        since="2.0",
        reads="the file behind the device, or none",
        accepts=accepts,
        refuses=refuses,
        key_when="there is one",
        effect=effect,
    )


async def _flush(device: VdiskDevice, _value: None) -> None:
    store = device.medium.store
    if store is None or not device.kind.flushes:
        return
    # The store stays open for as long as this takes.
    hold = device.tasks.hold(in_background=True)
    try:
        lost = device.medium.take_flush_error()
        error = await medium_change.flushed(store) or lost
        if error:
            raise failed(device.name, OSError(error, os.strerror(error)))
    finally:
        device.tasks.release(hold)


def _report_threshold(device: VdiskDevice, _value: None) -> None:
    for tgt_dev in device.tgt_devs:
        tgt_dev.queue_unit_attention(sense.THIN_SOFT_THRESHOLD_REACHED)


# Rows of settings

_TST: Final[_Row] = Attr(
    name="tst",
    mode=0o444,
    show=lambda device: str(device.settings.tst),
    key=lambda device: device.settings.tst != 1,
    since="3.0",
    reads="task set type: 1 for a task set per session, 0 for a common one",
    key_when="0",
)
_BLOCKSIZE: Final[_Row] = Attr(
    name="blocksize",
    mode=0o444,
    show=lambda device: str(int32(1 << device.block_shift)),
    key=lambda device: device.block_shift != MIN_BLOCK_SHIFT,
    since="2.0",
    reads="bytes in a logical block",
    key_when="not 512",
)
_THIN_PROVISIONED: Final[_Row] = Attr(
    name="thin_provisioned",
    mode=0o444,
    show=lambda device: flag(device.medium.shows_thin_provisioning),
    key=lambda device: device.settings.thin_provisioned is not None,
    since="2.1",
    reads="1 if blocks can be given back (UNMAP), else 0",
    key_when="asked for or against at creation",
)
_LB_PER_PB_EXP: Final = _switch(
    "lb_per_pb_exp",
    "READ CAPACITY tells the physical block size",
    "from the next READ CAPACITY on",
    lambda device: device.settings.lb_per_pb_exp,
    _set_lb_per_pb_exp,
    zero_or_one,
    "3.8",
    default=True,
)
_ACTIVE: Final = _switch(
    "active",
    "the file is open",
    "0 closes the file, and commands that need it get MEDIUM NOT PRESENT; 1 opens it again and may "
    "fail with the errno of open(2)",
    lambda device: device.medium.active,
    _set_active,
    zero_or_one,
    "3.3",
    default=True,
    queued=True,
)
_CLUSTER_MODE: Final = _switch(
    "cluster_mode",
    "in cluster mode",
    "mode pages, t10_dev_id and pr_file_name cannot be changed; there is no cluster to share "
    "reservations with",
    lambda device: device.cluster_mode,
    _set_cluster_mode,
    zero_or_one,
    "3.1",
    queued=True,
)
_FILENAME: Final = _filename(
    _set_filename,
    "an absolute path, while the device is not active",
    "EINVAL: the device is active, or no absolute path",
    "the file is opened when the device becomes active",
)
_MEDIUM: Final = _filename(
    _set_medium,
    "an absolute path; an empty line takes the medium out",
    "EBUSY: an initiator prevents removal; EINVAL: no absolute path; the errno of open(2)",
    "the next command is told that the medium may have changed",
)
_ASYNC: Final = _switch(
    "async",
    "I/O is asynchronous",
    "none: I/O always is",
    lambda device: device.settings.asynchronous,
    _set_async,
    zero_or_one,
    "3.3",
)
_BIND_ALUA_STATE: Final = _switch(
    "bind_alua_state",
    "the device is closed while its ALUA state allows no access",
    "from the next ALUA state on: the device is active in the states active and nonoptimized only",
    lambda device: device.settings.bind_alua_state,
    _set_bind_alua_state,
    truncated(any_nonzero, _SMALL_BUFFER),
    "3.3",
    default=True,
    accepts=_ANY_NUMBER,
)


def _of(handlers: tuple[str, ...], row: _Row) -> dict[str, _Row]:
    return dict.fromkeys(handlers, row)


SETTINGS: Final = (
    VdiskParameter("active", take_flag("active"), _FILE_OR_BLOCK, _of(_FILE_OR_BLOCK, _ACTIVE)),
    VdiskParameter("async", take_nonzero("asynchronous"), (FILEIO,), _of((FILEIO,), _ASYNC)),
    VdiskParameter(
        "bind_alua_state",
        take_flag("bind_alua_state"),
        (BLOCKIO,),
        _of((BLOCKIO,), _BIND_ALUA_STATE),
    ),
    VdiskParameter("blocksize", take_block_size, _DISKS, _of(_DISKS, _BLOCKSIZE)),
    VdiskParameter("cluster_mode", take_flag("cluster_mode"), _DISKS, _of(_DISKS, _CLUSTER_MODE)),
    VdiskParameter(
        "dif_filename", take_dif_filename, _FILE_OR_BLOCK, _of(_DISKS, protection_rows.FILENAME)
    ),
    VdiskParameter("dif_mode", take_dif_mode, _DISKS, _of(_DISKS, protection_rows.MODE)),
    VdiskParameter(
        "dif_static_app_tag",
        take_dif_static_app_tag,
        _DISKS,
        _of(_DISKS, protection_rows.STATIC_APP_TAG),
    ),
    VdiskParameter("dif_type", take_dif_type, _DISKS, _of(_DISKS, protection_rows.TYPE)),
    VdiskParameter(
        "dummy",
        take_choice("dummy", bool),
        (NULLIO,),
        _of((NULLIO,), _fixed("dummy", "INQUIRY says that no device is there", "3.0")),
    ),
    VdiskParameter(
        "filename",
        take_filename,
        _FILE_OR_BLOCK,
        {**_of(_FILE_OR_BLOCK, _FILENAME), CDROM: _MEDIUM},
    ),
    # All devices have the attribute (`tree.devices`).
    VdiskParameter("numa_node_id", take_numa_node_id, _DISKS),
    VdiskParameter(
        "nv_cache",
        take_flag("nv_cache"),
        _FILE_OR_BLOCK,
        _of(_FILE_OR_BLOCK, _fixed("nv_cache", "the cache needs no flushing", "2.0")),
    ),
    VdiskParameter(
        "o_direct",
        take_flag("o_direct"),
        (FILEIO,),
        _of((FILEIO,), _fixed("o_direct", "the page cache is bypassed", "2.0")),
    ),
    VdiskParameter(
        "read_only",
        take_flag("read_only"),
        _DISKS,
        _of(_DISKS, _fixed("read_only", "writing is refused", "2.0")),
    ),
    VdiskParameter(
        "removable",
        take_flag("removable"),
        _DISKS,
        _of(_DISKS, _fixed("removable", "the medium is removable", "2.0")),
    ),
    VdiskParameter(
        "rotational",
        take_flag("rotational"),
        _DISKS,
        _of(_DISKS, _fixed("rotational", "the medium rotates", "3.0")),
    ),
    VdiskParameter("size", take_size(0), _SIZED, _sizes("size", 0, "bytes")),
    VdiskParameter("size_mb", take_size(_MIB_SHIFT), _SIZED, _sizes("size_mb", _MIB_SHIFT, "MiB")),
    VdiskParameter(
        "thin_provisioned",
        take_flag("thin_provisioned"),
        _FILE_OR_BLOCK,
        _of(_FILE_OR_BLOCK, _THIN_PROVISIONED),
    ),
    VdiskParameter("tst", take_choice("tst", int), _ALL, _of(_ALL, _TST)),
    VdiskParameter("t10_dev_id", take_t10_dev_id, _DISKS, _of(_ALL, identity_rows.T10_DEV_ID)),
    VdiskParameter(
        "write_through",
        take_flag("write_through"),
        _FILE_OR_BLOCK,
        # MODE SELECT (WCE) and a reset change it.
        _of(
            _FILE_OR_BLOCK,
            _fixed(
                "write_through",
                "writes go to the medium at once",
                "2.0",
                lambda device: device.modes.write_through,
            ),
        ),
    ),
    # No usage text lists it.
    VdiskParameter(
        "lb_per_pb_exp", take_flag("lb_per_pb_exp"), (), _of(_FILE_OR_BLOCK, _LB_PER_PB_EXP)
    ),
)
"""In the order of the handlers' usage texts."""


# Attributes that are no parameters

_OPT_TRANS_LEN: Final[_Row] = Attr(
    name="opt_trans_len",
    mode=0o644,
    show=lambda device: str(device.medium.opt_trans_len),
    key=lambda device: device.medium.opt_trans_len_set,
    parse=kstrtoul,
    store=_set_opt_trans_len,
    since="3.4",
    reads="the transfer length (bytes) that the block limits page calls optimal",
    accepts="a multiple of the block size",
    refuses="EINVAL: anything else",
    key_when="written",
    effect="shows in the block limits page from now on",
)
_SOFT_THRESHOLD: Final[_Row] = Attr(
    name="gen_tp_soft_threshold_reached_UA",
    mode=0o200,
    parse=anything,
    store=_report_threshold,
    visible=lambda device: device.medium.examined and device.medium.thin,
    follows=lambda device: device.rows,
    since="3.3",
    accepts="anything",
    effect="unit attention THIN PROVISIONING SOFT THRESHOLD REACHED",
)
_EXPL_ALUA: Final = _switch(
    "expl_alua",
    "initiators may change ALUA states",
    "SET TARGET PORT GROUPS is executed",
    lambda device: device.explicit_alua,
    _set_expl_alua,
    any_nonzero,
    "3.1",
    accepts=_ANY_NUMBER,
)
_RESYNC_SIZE: Final[_Row] = Attr(
    name="resync_size",
    mode=0o200,
    parse=anything,
    store=_resync_size,
    queued=True,
    since="2.0",
    accepts="anything",
    refuses="EMEDIUMTYPE: the device is not active, or no session has it, not even the copy "
    "manager's",
    effect="the size of the file is read again; unit attention CAPACITY DATA HAS CHANGED "
    "if it changed",
)
_SYNC: Final[_Row] = Attr(
    name="sync",
    mode=0o200,
    parse=anything,
    store=_flush,
    since="3.1",
    accepts="anything",
    refuses="the errno of fdatasync(2)",
    effect="what was written is durable when this returns",
)
_READ_ZERO: Final = _switch(
    "read_zero",
    "reads give zeros",
    "0: reads give whatever the buffer held",
    lambda device: device.read_zero,
    _set_read_zero,
    truncated(zero_or_one, _SMALL_BUFFER),
    "3.1",
)

OTHERS: Final[tuple[tuple[_Row, tuple[str, ...]], ...]] = (
    (_OPT_TRANS_LEN, _DISKS),
    (_SOFT_THRESHOLD, _FILE_OR_BLOCK),
    (_EXPL_ALUA, _FILE_OR_BLOCK),
    (_RESYNC_SIZE, _FILE_OR_BLOCK),
    (_SYNC, _FILE_OR_BLOCK),
    (_READ_ZERO, (NULLIO,)),
    *((row, _ALL) for row in identity_rows.OTHERS),
)
"""Each with the handlers that have it."""


def usage(handler: str) -> tuple[str, ...]:
    """The parameters that the usage text of *handler* lists."""
    return tuple(setting.name for setting in SETTINGS if handler in setting.handlers)


def _rows(handler: str) -> DirType[VdiskDevice]:
    shown = (
        replace(setting.rows[handler], parameter=handler in setting.handlers)
        for setting in SETTINGS
        if handler in setting.rows
    )
    return DirType(handler, (*shown, *(row for row, handlers in OTHERS if handler in handlers)))


ROWS: Final = {handler: _rows(handler) for handler in _ALL}
"""The attributes of virtual devices by their handler's name."""
