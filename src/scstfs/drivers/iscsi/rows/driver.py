"""``targets/iscsi/`` itself: the driver as a whole."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

from scstfs.core import target_registration
from scstfs.drivers.iscsi import iscsi_mgmt
from scstfs.drivers.iscsi.config import IscsiDriver
from scstfs.drivers.iscsi.rows.accounts import instances
from scstfs.drivers.iscsi.rows.answers import (
    daemon_lines,
    daemon_switch,
    daemon_value,
    is_address,
    stripped,
    words_of,
)
from scstfs.drivers.iscsi.rows.targets import TARGET
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Each
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.mgmt import MgmtWrite, mgmt_attr
from scstfs.sysfs.text import decode, encode
from scstfs.sysfs.values import flag
from scstfs.tree.naming import require_free
from scstfs.tree.trace import trace_level

_USAGE: Final = (
    'Usage: echo "add_target target_name [parameters]" >mgmt\n'
    '       echo "del_target target_name" >mgmt\n'
    '       echo "add_attribute <attribute> <value>" >mgmt\n'
    '       echo "del_attribute <attribute> <value>" >mgmt\n'
    '       echo "add_target_attribute target_name <attribute> <value>" >mgmt\n'
    '       echo "del_target_attribute target_name <attribute> <value>" >mgmt\n'
    "\n"
    "where parameters are one or more param_name=value pairs separated by ';'\n"
    "\n"
    "The following target driver attributes available: "
    f"{', '.join(iscsi_mgmt.DRIVER_ATTRIBUTES)}\n"
    "The following target attributes available: "
    f"{', '.join(iscsi_mgmt.TARGET_ATTRIBUTES)}\n"
    "\n"
)


def _add_target(driver: IscsiDriver, command: MgmtWrite) -> None:
    name = command.arguments.required_word("Target name")
    target = iscsi_mgmt.new_target(driver, name, decode(command.arguments.rest()))
    # The number is taken even if the kernel cannot show the target then.
    target.tid = driver.take_tid()
    try:
        require_free(DRIVER, driver, target.name)
    except SysfsError as refusal:
        code = errno.EBUSY if refusal.errno == errno.EEXIST else refusal.errno
        raise SysfsError(code, refusal.reason) from None
    driver.add(target)


def _delete_target(driver: IscsiDriver, command: MgmtWrite) -> None:
    name = command.arguments.required_word("Target name")
    command.arguments.expect_end()
    target = driver.targets.get(name)
    if target is None:
        raise SysfsError(errno.ENOENT, f"Target {name} not found")
    if target.sessions:
        raise SysfsError(errno.EBUSY, f"Target {name} has sessions")
    target_registration.unregister(driver.scst, target)
    driver.remove(target)


_ACTIONS: Final[dict[str, Callable[[IscsiDriver, MgmtWrite], None]]] = {
    "add_target": _add_target,
    "del_target": _delete_target,
}


def _manage(driver: IscsiDriver, command: MgmtWrite) -> None:
    _ACTIONS.get(command.verb, iscsi_mgmt.execute)(driver, command)


def _set_driver_enabled(driver: IscsiDriver, value: bool) -> None:
    driver.enabled = value
    driver.live.enabled_changed(driver)


def _set_link_local(driver: IscsiDriver, value: bool) -> None:
    driver.link_local = value


def _parse_internal_portal(data: bytes) -> str:
    text = stripped(data)
    for address in text.split(" "):
        if text and address and not is_address(address):
            raise invalid(f"Invalid address supplied {address}")
    return text


def _set_internal_portal(driver: IscsiDriver, value: str) -> None:
    driver.internal_portal = value


def _set_isns_entity_name(driver: IscsiDriver, data: bytes) -> None:
    driver.isns_entity_name = decode(encode(words_of(data).take())[:_LONGEST_ENTITY])


_LONGEST_ENTITY: Final = 255
_ACCESS_CONTROL: Final = "AccessControl"


def _show_isns_server(driver: IscsiDriver) -> str:
    if driver.isns_server is None:
        return ""
    return f"{driver.isns_server} {_ACCESS_CONTROL if driver.isns_access_control else ''}"


async def _set_isns_server(driver: IscsiDriver, data: bytes) -> None:
    words = words_of(data)
    host, option = words.take(), words.take()
    access_control = option.lower() == _ACCESS_CONTROL.lower() and words.take().lower() != "no"
    # Even if this fails, the present server is not used any more.
    driver.isns_server, driver.isns_access_control = None, False
    if host and option and option.lower() != _ACCESS_CONTROL.lower():
        await driver.live.isns_changed(driver, None, False)
        raise invalid(f"Unknown parameter {option}")
    await driver.live.isns_changed(driver, host or None, access_control)
    if host:
        driver.isns_server, driver.isns_access_control = host, access_control


DRIVER: Final[DirType[IscsiDriver]] = DirType(
    "iSCSI driver",
    (
        mgmt_attr(
            lambda driver: _USAGE,
            _manage,
            accepts="`add_target NAME [parameter=value; ...]` (parameters are the target's "
            "attributes), `del_target NAME`, `add_attribute NAME VALUE`, "
            "`del_attribute NAME VALUE`, `add_target_attribute TARGET NAME VALUE`, "
            "`del_target_attribute TARGET NAME VALUE`",
            refuses="EINVAL: an unknown verb, attribute or parameter, a wrong value, a secret of "
            "fewer than 12 bytes; EEXIST: the target exists (in any case), a second "
            "OutgoingUser; ENOENT: an unknown target or user; EBUSY: `del_target` of one that has "
            "sessions, a name that is an attribute's",
            effect="targets are made disabled",
        ),
        Attr(
            name="enabled",
            mode=0o644,
            show=lambda driver: flag(driver.enabled),
            render=daemon_lines,
            parse=daemon_switch,
            store=_set_driver_enabled,
            since="2.0",
            reads="1 if initiators are served, else 0",
            accepts="0 or 1",
            refuses="EINVAL: anything else",
            effect="disabling asks initiators to log out; sessions of those that do not stay",
        ),
        Attr(
            name="iSNSServer",
            mode=0o644,
            show=_show_isns_server,
            key=lambda driver: driver.isns_server is not None,
            render=daemon_lines,
            parse=bytes,
            store=_set_isns_server,
            since="2.0",
            reads="the iSNS server's host, and AccessControl if it controls logins",
            accepts="`HOST`, `HOST AccessControl`, `HOST AccessControl No`, or an empty line",
            refuses="EINVAL: another word; ECONNREFUSED, ETIMEDOUT, ...: the error of the "
            "connection; EHOSTUNREACH: also for a name that has no address. Then no server is set",
            key_when="set",
            effect="enabled targets are registered there; with AccessControl only initiators that "
            "it lists for a target may log in and see it. A server that goes away is tried again",
        ),
        Attr(
            name="isns_entity_name",
            mode=0o644,
            show=lambda driver: driver.isns_entity_name,
            render=daemon_value,
            parse=bytes,
            store=_set_isns_entity_name,
            since="3.0",
            reads="the entity identifier for the iSNS server",
            accepts="a word",
            effect="from the next registration on",
        ),
        Attr(
            name="link_local",
            mode=0o644,
            show=lambda driver: flag(driver.link_local),
            key=lambda driver: not driver.link_local,
            render=daemon_lines,
            parse=daemon_switch,
            store=_set_link_local,
            since="3.9",
            reads="1 if SendTargets includes link-local IPv6 addresses, else 0",
            accepts="0 or 1",
            refuses="EINVAL: anything else",
            key_when="0",
            effect="from the next discovery on",
        ),
        Attr(
            name="internal_portal",
            mode=0o644,
            show=lambda driver: driver.internal_portal,
            key=lambda driver: bool(driver.internal_portal),
            render=daemon_lines,
            parse=_parse_internal_portal,
            store=_set_internal_portal,
            since="3.9",
            reads="portals at which initiators need not authenticate",
            accepts="numeric addresses separated by blanks, or an empty line",
            refuses="EINVAL: anything else",
            key_when="set",
            effect="from the next login on",
        ),
        Attr(
            name="open_state",
            mode=0o444,
            show=lambda driver: driver.open_state,
            since="2.0",
            reads="open",
        ),
        Attr(
            name="version",
            mode=0o444,
            show=lambda driver: "3.10.0\nTRACING",
            since="2.0",
            reads="the version of SCST that this interface belongs to",
        ),
        trace_level(lambda driver: driver.trace, lambda driver: driver.live.trace_changed(driver)),
        *(instances(name) for name in iscsi_mgmt.DRIVER_ATTRIBUTES),
        Each(
            children=lambda driver: driver.targets,
            get=lambda driver, name: driver.targets.get(name),
            dirtype=TARGET,
            label="TARGET",
            about="a target",
        ),
    ),
)
