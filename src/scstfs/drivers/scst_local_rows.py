"""``targets/scst_local/``."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

from scstfs.core.session import Session
from scstfs.drivers.scst_local import LocalDriver, LocalTarget, LocalTransport
from scstfs.scsi.unit import SAS_TRANSPORT
from scstfs.sysfs.attr import Attr, raw
from scstfs.sysfs.directory import DirType, Each, Link
from scstfs.sysfs.errors import SysfsError, invalid, removed
from scstfs.sysfs.mgmt import MgmtWrite, Parameter, mgmt_attr
from scstfs.sysfs.numbers import kstrtoul
from scstfs.sysfs.text import decode, is_entry_name
from scstfs.tree.naming import require_free
from scstfs.tree.sessions import FORCE_CLOSE, session_type
from scstfs.tree.targets import target_type
from scstfs.tree.trace import trace_level

_VERSION_MASK: Final = 0xFFFF


# Sessions


def _transport(session: Session) -> LocalTransport:
    if not isinstance(session.transport, LocalTransport):
        raise removed()
    return session.transport


def _set_transport_id(session: Session, data: bytes) -> None:
    _transport(session).written_id = data


def _host(session: Session) -> str:
    """Where the SCSI host of the kernel's driver would be, relative to the tree's root."""
    number = _transport(session).host
    name = session.name.replace("/", "!")
    return f"../../devices/scst_local/{name}/host{number}/scsi_host/host{number}"


SESSION: Final = session_type(
    "scst_local session",
    (
        FORCE_CLOSE,
        Attr(
            name="host_no",
            mode=0o444,
            show=lambda session: str(_transport(session).host),
            since="3.6",
            reads="the number that a SCSI host of this session would have; there is none",
        ),
        Attr(
            name="transport_id",
            mode=0o644,
            show=lambda session: decode(_transport(session).identifier),
            render=raw,
            parse=bytes,
            binary=True,
            store=_set_transport_id,
            since="2.0",
            reads="the initiator port's TransportID, as it is",
            accepts="any bytes, a newline too",
            effect="none on the present session, whose identity was set when it was made",
        ),
        Link(
            name="host",
            target=_host,
            about="to where the kernel's driver would have made a SCSI host; there is none",
        ),
    ),
)


# Targets


def _set_scsi_version(target: LocalTarget, version: int) -> None:
    target.set_scsi_transport_version(version & _VERSION_MASK)


def _set_phys_version(target: LocalTarget, version: int) -> None:
    target.phys_transport_version = version & _VERSION_MASK


TARGET: Final[DirType[LocalTarget]] = target_type(
    "scst_local target",
    (
        Attr(
            name="scsi_transport_version",
            mode=0o644,
            show=lambda target: f"0x{target.own_scsi_transport_version or SAS_TRANSPORT:x}",
            key=lambda target: target.own_scsi_transport_version != 0,
            parse=kstrtoul,
            store=_set_scsi_version,
            since="2.0",
            reads="the version descriptor of the SCSI transport protocol",
            accepts="a number; 0 for the default (SAS)",
            refuses="EINVAL: anything else",
            key_when="set",
            effect="shows in INQUIRY",
        ),
        Attr(
            name="phys_transport_version",
            mode=0o644,
            show=lambda target: f"0x{target.phys_transport_version:x}",
            key=lambda target: target.phys_transport_version != 0,
            parse=kstrtoul,
            store=_set_phys_version,
            since="2.0",
            reads="the version descriptor of the physical transport, 0 for none",
            accepts="a number",
            refuses="EINVAL: anything else",
            key_when="not 0",
            effect="shows in INQUIRY",
        ),
    ),
    SESSION,
)


# The driver

_USAGE: Final = (
    'Usage: echo "add_target target_name [parameters]" >mgmt\n'
    '       echo "del_target target_name" >mgmt\n'
    '       echo "add_session target_name session_name" >mgmt\n'
    '       echo "del_session target_name session_name" >mgmt\n'
    "\n"
    "where parameters are one or more param_name=value pairs separated by ';'\n"
    "\n"
    "\n"
    "The following parameters available: session_name\n"
    "\n"
)


def _add_target(driver: LocalDriver, command: MgmtWrite) -> None:
    name = command.arguments.required_word("Target name")
    try:
        require_free(DRIVER, driver, name)
    except SysfsError as refusal:
        code = errno.EFAULT if refusal.errno == errno.EEXIST else refusal.errno
        raise SysfsError(code, refusal.reason) from None
    target = driver.add_target(name)
    try:
        for parameter in command.arguments.parameters():
            if not parameter.name:
                break
            target.open_session(_session_parameter(parameter))
    except SysfsError:
        # The numbers of sessions made meanwhile stay used, as in SCST.
        driver.remove_target(name)
        raise


def _session_parameter(parameter: Parameter) -> str:
    if parameter.key != "session_name":
        raise invalid(f"Unknown parameter {parameter.name}")
    if not parameter.values:
        raise invalid("Wrong session name")
    return _session_name(parameter.values[0])


def _session_name(name: str) -> str:
    if not is_entry_name(name.replace("/", "!")):
        raise invalid(f'Session name "{name}" cannot be shown')
    return name


def _delete_target(driver: LocalDriver, command: MgmtWrite) -> None:
    name = command.arguments.required_word("Target name")
    command.arguments.expect_end()
    driver.remove_target(name)


def _sessions(driver: LocalDriver, command: MgmtWrite) -> None:
    target = command.arguments.required_word("Target name")
    session = command.arguments.word() or ""
    driver.execute(command.verb, target, _session_name(session) if session else "")


_ACTIONS: Final[dict[str, Callable[[LocalDriver, MgmtWrite], None]]] = {
    "add_target": _add_target,
    "del_target": _delete_target,
}


def _manage(driver: LocalDriver, command: MgmtWrite) -> None:
    _ACTIONS.get(command.verb, _sessions)(driver, command)


def _statistics(driver: LocalDriver) -> str:
    counted = driver.statistics
    return (
        f"Aborts: {counted.aborts}, Device Resets: {counted.device_resets}, "
        f"Target Resets: {counted.target_resets}"
    )


DRIVER: Final[DirType[LocalDriver]] = DirType(
    "scst_local driver",
    (
        mgmt_attr(
            lambda driver: _USAGE,
            _manage,
            accepts="`add_target NAME [session_name=NAME; ...]`, `del_target NAME`, "
            "`add_session TARGET NAME`, `del_session TARGET NAME`; any other verb with two words "
            "is ignored",
            refuses="EINVAL: an unknown parameter or session, a word missing, sessions of an "
            "unknown target; EFAULT: the target exists; ENOENT: `del_target` of one that does not",
            effect="`del_target` closes the target's sessions",
        ),
        Attr(
            name="stats",
            mode=0o444,
            show=_statistics,
            since="2.0",
            reads="how many commands were aborted and how many resets there were",
        ),
        Attr(
            name="version",
            mode=0o444,
            show=lambda driver: "3.10.0/20110901\nTRACING",
            since="2.0",
            reads="the version of SCST that this interface belongs to",
        ),
        trace_level(lambda driver: driver.trace),
        Each(
            children=lambda driver: driver.targets,
            get=lambda driver, name: driver.targets.get(name),
            dirtype=TARGET,
            label="TARGET",
            about="a target",
        ),
    ),
)
