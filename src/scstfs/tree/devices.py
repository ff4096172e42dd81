"""``devices/``: rows of all devices; their handlers add their own."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from scstfs.core.device import Device
from scstfs.core.device_threads import ThreadsPoolType
from scstfs.core.scst import Scst
from scstfs.core.waiting import settled
from scstfs.observable import Observable
from scstfs.persist import calls
from scstfs.persist.reservations import SavedReservations
from scstfs.persist.state import ReservationsFile
from scstfs.scsi.opcodes import DeviceType
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Each, EachLink, Include, Link, Sub
from scstfs.sysfs.entry import Entry, itself
from scstfs.sysfs.errors import SysfsError, failed, invalid, removed
from scstfs.sysfs.numbers import in_range, kstrtol, prefix_keyword
from scstfs.sysfs.text import BLANKS, first_line
from scstfs.sysfs.values import anything, flag, int32, natural
from scstfs.tree import measurements, paths
from scstfs.tree.naming import Numbered, number_in, numbered

log = logging.getLogger(__name__)

_TYPE_NAMES: Final = {
    DeviceType.DISK: "Direct-access device (e.g., magnetic disk)",
    DeviceType.TAPE: "Sequential-access device (e.g., magnetic tape)",
    DeviceType.PRINTER: "Printer device",
    DeviceType.PROCESSOR: "Processor device",
    DeviceType.WRITE_ONCE: "Write-once device (e.g., some optical disks)",
    DeviceType.CD_ROM: "CD-ROM device",
    DeviceType.SCANNER: "Scanner device (obsolete)",
    DeviceType.OPTICAL: "Optical memory device (e.g., some optical disks)",
    DeviceType.CHANGER: "Medium changer device (e.g., jukeboxes)",
    DeviceType.COMMUNICATIONS: "Communications device (obsolete)",
    DeviceType.RAID: "Storage array controller device (e.g., RAID)",
    DeviceType.ENCLOSURE: "Enclosure services device",
    DeviceType.SIMPLIFIED_DISK: "Simplified direct-access device (e.g., magnetic disk)",
    DeviceType.OPTICAL_CARD: "Optical card reader/writer device",
}


def type_text(kind: DeviceType) -> str:
    """A peripheral device type as ``type`` shows it."""
    return f"{kind.value} - {_TYPE_NAMES[kind]}"


# Threads


def _own_rows(device: Device) -> Observable:
    return device.rows


def _has_handler(device: Device) -> bool:
    return device.handler is not None


def _default_threads(device: Device) -> int:
    return 0 if device.handler is None else device.handler.threads_num


def _may_set_threads(device: Device) -> bool:
    # SCST keeps a number above 2**31 - 1 as a negative one, which cannot be undone.
    if device.threads.number < 0:
        raise SysfsError(errno.EPERM, f"Threads pool disabled for device {device.name}")
    return True


def _set_threads_num(device: Device, number: int) -> None:
    device.threads.configure(number, device.threads.pool_type)


_POOL_TYPES: Final = {kind.value: kind for kind in ThreadsPoolType}


def _parse_pool_type(data: bytes) -> ThreadsPoolType:
    return _POOL_TYPES[prefix_keyword(data, tuple(_POOL_TYPES))]


def _show_pool_type(device: Device) -> str:
    if device.threads.number <= 0:
        return "Async" if device.threads.number == 0 else "Not valid"
    return device.threads.pool_type.value


def _is_other_pool_type(device: Device) -> bool:
    return (
        device.threads.number > 0 and device.threads.pool_type is not ThreadsPoolType.PER_INITIATOR
    )


def _set_pool_type(device: Device, kind: ThreadsPoolType) -> None:
    device.threads.configure(device.threads.number, kind)


def _default_commands(device: Device) -> int:
    return 0 if device.handler is None else device.handler.max_tgt_dev_commands


def _set_max_commands(device: Device, number: int) -> None:
    device.max_tgt_dev_commands = int32(number)


def _set_numa_node(device: Device, number: int) -> None:
    device.numa_node_id = int32(number)


# Persistent reservations


def _pr_file_name(device: Device) -> str:
    return device.pr_file_name or str(device.env.state.reservations_path(device.name))


def _may_set_pr_file_name(device: Device, _name: str) -> bool:
    if device.cluster_mode:
        raise SysfsError(errno.EPERM, f"Device {device.name} is in cluster mode")
    return True


async def _set_pr_file_name(device: Device, name: str) -> None:
    _require_unused(device)
    default = str(device.env.state.reservations_path(device.name))
    wanted = name or default
    if wanted == _pr_file_name(device):
        return
    if wanted.endswith("/"):
        raise invalid(f"PR file name {wanted} must be file or block device")
    file, old, state = ReservationsFile(Path(wanted)), device.pr.file, device.pr.save_state()

    def adopt() -> SavedReservations | None:
        _check_file_name(file.path)
        saved = file.load()
        if saved is None:
            # The saved reservations move to the new file.
            file.save(state)
        return saved

    run_blocking = device.env.runtime.run_blocking
    try:
        saved = await run_blocking(adopt)
        if not device.alive or device.tgt_devs:
            if saved is None:
                await run_blocking(file.remove)
            if not device.alive:
                raise removed()
            _require_unused(device)
    except OSError as error:
        raise failed(device.name, error) from error
    device.pr.load(file, saved)
    device.pr_file_name = name or None
    if saved is None and old is not None:
        # If the device is made again with the default name, it must not find reservations that may
        # have ended meanwhile.
        try:
            await run_blocking(old.remove)
        except OSError as error:
            log.warning("cannot remove %s: %s", old.path, error)


def _require_unused(device: Device) -> None:
    if device.tgt_devs:
        raise SysfsError(errno.EBUSY, f"Device {device.name} is exported")


def _check_file_name(path: Path) -> None:
    """Raise OSError for a path that cannot be a file of reservations."""
    if not path.is_absolute():
        raise OSError(errno.EINVAL, "the name must be absolute")
    kind = calls.kind(path)
    if kind is None:
        if not stat.S_ISDIR(calls.kind(path.parent) or 0):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    elif not stat.S_ISREG(kind) and not stat.S_ISBLK(kind):
        raise OSError(errno.EINVAL, "neither a file nor a block device")


def _dump_reservations(device: Device, _value: None) -> None:
    for line in device.pr.dump():
        log.info("%s", line)


# Blocking


class _Block(NamedTuple):
    """A write to ``block``: remove a blocker, or add one, with or without waiting for commands."""

    on: bool
    wait: bool = False


def _parse_block(data: bytes) -> _Block:
    first, rest = data[:1], data[1:].lstrip(BLANKS)
    if first == b"0" and not rest:
        return _Block(on=False)
    if first == b"1" and (not rest or rest[:1] == b"1"):
        return _Block(on=True, wait=not rest)
    raise invalid("Requested action not understood")


async def _set_block(device: Device, block: _Block) -> None:
    tasks = device.tasks
    change = "blocked" if block.on else "unblocked"
    device.env.trace.event("block", "device %s is %s from outside", device.name, change)
    if not block.on:
        tasks.unblock()
        return
    tasks.block()
    tasks.pending_blocks += 1

    def ended() -> None:
        tasks.pending_blocks -= 1

    tasks.when_idle(ended)
    if block.wait and not await settled(tasks.when_idle):
        # The writer relies on it that no command runs.
        tasks.unblock()
        raise SysfsError(errno.EBUSY, f"Commands of device {device.name} do not end")


# Exports


def _export(device: Device, name: str) -> paths.Path | None:
    number = number_in(name, "export")
    acg_dev = None if number is None else device.exports.get(number)
    return None if acg_dev is None else paths.lun(acg_dev)


_EXPORTED: Final[DirType[Device]] = DirType(
    "exports",
    (
        EachLink(
            children=lambda device: Numbered(device.exports, "export"),
            follows=lambda device: device.exports,
            named=numbered("export"),
            target=_export,
            label="exportN",
            about="to a LUN",
        ),
    ),
)


def _handler(device: Device) -> paths.Path | None:
    return None if device.handler is None else paths.handler(device.handler)


_ROWS: Final[tuple[Entry[Device], ...]] = (
    Attr(
        name="type",
        mode=0o444,
        show=lambda device: type_text(device.type),
        since="2.0",
        reads="SCSI device type, as a number and in words",
    ),
    Attr(
        name="threads_num",
        mode=0o644,
        show=lambda device: str(device.threads.number),
        key=lambda device: device.threads.number != _default_threads(device),
        parse=lambda data: int32(natural(data)),
        admit=lambda device, number: _may_set_threads(device) and number != device.threads.number,
        store=_set_threads_num,
        queued=True,
        visible=_has_handler,
        follows=_own_rows,
        since="2.0",
        reads="worker threads for the device's I/O, 0 for the global ones (`/threads`)",
        accepts="0 or more",
        refuses="EINVAL: negative numbers, anything else; EPERM: after a number from 2**31 on "
        "which is kept as a negative one",
        key_when="not the handler's default (vdisk_fileio, vcdrom: 8; *_perf: 0; others: 1)",
        effect="threads are made when they are first needed",
    ),
    Attr(
        name="threads_pool_type",
        mode=0o644,
        show=_show_pool_type,
        key=_is_other_pool_type,
        parse=_parse_pool_type,
        binary=True,
        admit=lambda device, kind: (
            _may_set_threads(device) and kind is not device.threads.pool_type
        ),
        store=_set_pool_type,
        queued=True,
        visible=_has_handler,
        follows=_own_rows,
        since="2.0",
        reads="per_initiator, shared, Async where threads_num is 0, or Not valid where it is "
        "negative",
        accepts="per_initiator or shared in any case; an initial without newline is enough",
        refuses="EINVAL: anything else; EPERM: threads_num is negative",
        key_when="shared",
        effect="whether each session has threads_num threads or all share them",
    ),
    Attr(
        name="max_tgt_dev_commands",
        mode=0o644,
        show=lambda device: str(device.max_tgt_dev_commands),
        key=lambda device: device.max_tgt_dev_commands != _default_commands(device),
        parse=natural,
        store=_set_max_commands,
        since="3.3",
        reads="commands that one session may have under way at the device",
        accepts="0 or more",
        refuses="EINVAL: negative numbers, anything else",
        key_when="not 64 (0 while a SCSI device has no handler)",
        effect="more get TASK SET FULL, or BUSY if the session has no other",
    ),
    Attr(
        name="numa_node_id",
        mode=0o644,
        show=lambda device: str(device.numa_node_id),
        key=lambda device: device.numa_node_id != -1,
        parse=in_range(kstrtol, -1),
        store=_set_numa_node,
        parameter=True,
        since="3.3",
        reads="the NUMA node, -1 for none in particular",
        accepts="-1 or more",
        refuses="EINVAL: anything else",
        key_when="not -1",
        effect="none",
    ),
    Attr(
        name="pr_file_name",
        mode=0o644,
        show=_pr_file_name,
        key=lambda device: device.pr_file_name is not None,
        parse=first_line,
        admit=_may_set_pr_file_name,
        store=_set_pr_file_name,
        queued=True,
        since="3.0",
        reads="where persistent reservations are kept",
        accepts="an absolute path of a file or block device; an empty line for the default",
        refuses="EPERM: cluster mode; EBUSY: a session has the device, even the copy "
        "manager's; EINVAL: no such path; ENOENT: its directory is missing",
        key_when="set",
        effect="reservations are loaded from there; if nothing is there, they move there",
    ),
    Attr(
        name="dump_prs",
        mode=0o200,
        parse=anything,
        store=_dump_reservations,
        since="2.0",
        accepts="anything",
        effect="persistent reservations are written to the log",
    ),
    Attr(
        name="block",
        mode=0o644,
        show=lambda device: f"{device.tasks.external_blocks} {flag(device.tasks.pending_blocks)}",
        parse=_parse_block,
        store=_set_block,
        since="3.1",
        reads="how many times the device is blocked, and 1 if a block still waits for commands",
        accepts="1: block and wait for running commands; 1 1 and any text: block without "
        "waiting; 0: undo one",
        refuses="EINVAL: anything else",
        effect="commands wait while the device is blocked",
    ),
    Link(name="handler", target=_handler, follows=_own_rows, about="to its handler, if it has one"),
    Link(
        name="scsi_device",
        target=lambda device: device.sysfs_path,
        about="to the device in /sys/devices, if it is there",
    ),
    Sub(name="exported", dirtype=_EXPORTED, of=itself, about="the LUNs under which it is exported"),
)


def devices_type(rows: Mapping[str, DirType[Any]]) -> DirType[Scst]:
    """``devices/``; *rows* are those that handlers add to the directories of their devices."""

    def choose(device: Device) -> DirType[Any] | None:
        return None if device.handler is None else rows.get(device.handler.name)

    of_handler = Include(choose=choose, among=tuple(rows.values()), follows=_own_rows)
    return DirType(
        "devices",
        (
            Each(
                children=lambda scst: scst.devices,
                get=lambda scst, name: scst.devices.get(name),
                dirtype=DirType("device", (*_ROWS, of_handler), measurements.DEVICE),
                label="DEVICE",
                about="a device: virtual ones by their name, SCSI devices of this machine as "
                "H:C:I:L",
            ),
        ),
    )
