"""Trace levels, and commands under way: ``trace_level``, ``trace_cmds``, ``trace_mcmds``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeVar

from scstfs.core.command import Command as ScsiCommand
from scstfs.core.scst import Scst
from scstfs.core.session import Session
from scstfs.core.trace import ALL, DEFAULT, TraceLog
from scstfs.scsi.lun import unpack_lun
from scstfs.sysfs.attr import Attr, raw
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.mgmt import MgmtWrite, parse
from scstfs.sysfs.numbers import kstrtoul
from scstfs.sysfs.text import encode

T = TypeVar("T")

_USAGE: Final = (
    "\n\n\nUsage:\n"
    '\techo "all|none|default" >trace_level\n'
    '\techo "value DEC|0xHEX|0OCT" >trace_level\n'
    '\techo "add|del TOKEN" >trace_level\n'
    "\nwhere TOKEN is one of [function, line, pid, out_of_mem, special, scsi, mgmt, minor, "
    "scsi_serializing, retry, pr{}]\n"
)


def trace_level(
    log_of: Callable[[T], TraceLog], changed: Callable[[T], None] = lambda obj: None
) -> Attr[T, MgmtWrite]:
    """The row of a directory whose object logs to *log_of*'s TraceLog; it calls *changed*."""

    def store(obj: T, command: MgmtWrite) -> None:
        set_level(log_of(obj), command)
        changed(obj)

    return Attr(
        name="trace_level",
        mode=0o644,
        show=lambda obj: show_level(log_of(obj)),
        render=raw,
        parse=parse,
        store=store,
        since="2.0",
        reads="the categories of events that go to the log, and how to change them",
        accepts="`all`, `none`, `default`, `value NUMBER`, `add CATEGORY`, `del CATEGORY`",
        refuses="EINVAL: another word, an unknown category, no number",
        effect="events of these categories are logged from now on. There are: in the core scsi "
        "(commands that fail), minor (commands for LUNs that do not exist, unknown commands), "
        "mgmt, pr, flow_control, block and retry (of commands that come during an ALUA "
        "transition); in handlers and drivers mgmt; in those of virtual devices, which share one "
        "level, also order (FUA, SYNCHRONIZE CACHE); in iscsi also conn and pdu (headers, both "
        "ways; turns the fast path off)",
    )


def show_level(log: TraceLog) -> str:
    """Contents of ``trace_level``."""
    return " | ".join(log.tokens()) + _USAGE.format(log.help_tokens)


def set_level(log: TraceLog, command: MgmtWrite) -> None:
    """One command written to ``trace_level``; raises SysfsError EINVAL."""
    command.select(_ACTIONS)(log, command.arguments.word() or "")


def _set(flags: int, log: TraceLog, _word: str) -> None:
    log.flags = flags


def _value(log: TraceLog, word: str) -> None:
    try:
        log.flags = kstrtoul(encode(word))
    except SysfsError:
        raise invalid(f'Invalid trace value "{word}"') from None


def _add(log: TraceLog, word: str) -> None:
    log.flags |= _bit(log, word)


def _delete(log: TraceLog, word: str) -> None:
    log.flags &= ~_bit(log, word)


def _bit(log: TraceLog, word: str) -> int:
    bit = log.bit(word)
    if not bit:
        raise invalid(f'Unknown token "{word}"')
    return bit


_ACTIONS: Final[dict[str, Callable[[TraceLog, str], None]]] = {
    "all": partial(_set, ALL),
    "none": partial(_set, 0),
    "null": partial(_set, 0),
    "default": partial(_set, DEFAULT),
    "value": _value,
    "add": _add,
    "del": _delete,
}


# Commands and task management functions under way


def commands(scst: Scst) -> str:
    """``trace_cmds``: a line for each command of every session."""
    return "".join(_command_line(cmd) for cmd in _commands(scst))


def _commands(scst: Scst) -> Iterator[ScsiCommand]:
    for session in scst.sessions():
        for tgt_dev in session.all_tgt_devs():
            yield from tgt_dev.commands


def _command_line(cmd: ScsiCommand) -> str:
    session, decoded = cmd.session, cmd.decoded
    name, cdb = f"0x{cmd.cdb[0]:02x}", cmd.cdb
    if decoded is not None:
        # The length of vendor specific CDBs is unknown.
        name, cdb = decoded.op.name, cdb[: decoded.op.cdb_length or None]
    return (
        f"cmd {_address(cmd)}: state {cmd.phase.value}; op {name}; "
        f"proc time {int(cmd.age)} sec; {_nexus(session)}; grp {cmd.tgt_dev.acg_dev.acg.name}; "
        f"LUN {unpack_lun(cmd.lun)}; ini {session.initiator_name}; cdb {cdb.hex(' ')}\n"
    )


def management(scst: Scst) -> str:
    """``trace_mcmds``: a line for each unanswered task management function."""
    return "".join(
        f"mcmd {_address(request)}: state WAITING_AFFECTED_CMDS_DONE; {_nexus(session)}; "
        f"fn {request.function}; LUN {request.lun}; tag {request.tag}; "
        f"cmd_done_wait_count {request.waits_for}\n"
        for session in scst.sessions()
        for request in session.pending_functions
    )


def _nexus(session: Session) -> str:
    target = session.target
    return f"tgtt {target.driver.name}; tgt {target.name}; session {session.name}"


def _address(obj: object) -> str:
    """An identifier where SCST prints a pointer."""
    return f"{id(obj) % (1 << 64):016x}"
