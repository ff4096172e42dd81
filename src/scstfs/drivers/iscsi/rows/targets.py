"""``targets/iscsi/TARGET/``."""

from __future__ import annotations

import errno
from functools import partial
from typing import Final

from scstfs.core.scst import registry_of
from scstfs.core.target import Acg
from scstfs.drivers.iscsi import iscsi_mgmt, parameters
from scstfs.drivers.iscsi.config import IscsiTarget
from scstfs.drivers.iscsi.rows.accounts import instances
from scstfs.drivers.iscsi.rows.answers import (
    daemon_lines,
    daemon_switch,
    daemon_value,
    is_address,
    stripped,
    words_of,
)
from scstfs.drivers.iscsi.rows.sessions import SESSION
from scstfs.iscsi.admission import Redirect
from scstfs.iscsi.keys import ATTRIBUTES, Key, KeyKind
from scstfs.portals import DEFAULT_PORT
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.numbers import strtol_prefix
from scstfs.sysfs.text import encode
from scstfs.sysfs.values import any_nonzero, first_char, flag, int32
from scstfs.tree.targets import require_unique, target_type


async def _set_enabled(target: IscsiTarget, value: int) -> None:
    scst = registry_of(target)
    if value and scst.cluster is not None:
        # This node may just have been started, or the one that had this port may have died.
        await scst.cluster.freed(target.rel_tgt_id)
    if value and not target.rel_tgt_id:
        try:
            target.rel_tgt_id = scst.next_rel_tgt_id()
        except OverflowError:
            raise SysfsError(errno.EOVERFLOW, "No relative port id is free") from None
    elif value:
        require_unique(scst, target, target.rel_tgt_id)
    target.switched_on = bool(value)
    target.iscsi_driver.live.target_enabled_changed(target)


def _set_parameter(key: Key, target: IscsiTarget, data: bytes) -> None:
    target.parameters[key.name] = parameters.parse(key, words_of(data).take_last())
    target.iscsi_driver.live.parameter_changed(target, key.name)


_ACCEPTS: Final = {
    KeyKind.AND: "Yes or No",
    KeyKind.OR: "Yes or No",
    KeyKind.LIST: "a list of {choices}",
}
_SINCE: Final = {"NopInTimeout": "2.1", "RDMAExtensions": "3.1"}

_NEXT_LOGIN: Final = "from the next login on"
_AT_ONCE: Final = "holds at once"

#: Settings that are not keys of RFC 7143: their meaning, and when they take effect.
_SETTINGS: Final = {
    "MaxXmitDataSegmentLength": (
        "data (bytes) sent in one PDU, unless the initiator wants less",
        _NEXT_LOGIN,
    ),
    "RDMAExtensions": ("whether iSER is offered", "none: there is no iSER"),
    "QueuedCommands": ("commands that a session may have under way", _AT_ONCE),
    "RspTimeout": ("seconds in which an initiator must take an answer", _AT_ONCE),
    "NopInInterval": (
        "seconds of silence after which an initiator is asked whether it is still there, 0 for "
        "never",
        _AT_ONCE,
    ),
    "NopInTimeout": ("seconds that it has for saying so", _AT_ONCE),
    "MaxSessions": ("sessions at a time, 0 for any number", _NEXT_LOGIN),
}


def _parameter(key: Key) -> Attr[IscsiTarget, bytes]:
    bounds = key.attribute
    numbers = "" if bounds is None else f"{bounds.low} to {bounds.high}"
    accepts = _ACCEPTS.get(key.kind, numbers).format(choices=" and ".join(key.choices))
    negotiated = f"the target's value in the negotiation (RFC 7143 {key.clause})"
    reads, effect = _SETTINGS.get(key.name, (negotiated, _NEXT_LOGIN))
    return Attr(
        name=key.name,
        mode=0o644,
        show=lambda target: key.show(target.parameters[key.name]),
        key=lambda target: target.parameters[key.name] != key.default,
        render=daemon_value,
        parse=bytes,
        store=partial(_set_parameter, key),
        parameter=True,
        since=_SINCE.get(key.name, "2.0"),
        reads=reads,
        accepts=f"{accepts}; :default:",
        refuses="EINVAL: anything else",
        key_when=f"not {key.show(key.default)}",
        effect=effect,
    )


def _set_per_portal_acl(target: IscsiTarget, value: bool) -> None:
    target.per_portal_acl = value


def _show_redirect(target: IscsiTarget) -> str:
    redirect = target.redirect
    if redirect is None:
        return ""
    port = "" if redirect.port == DEFAULT_PORT else f":{redirect.port}"
    return f"{redirect.address}{port} {'perm' if redirect.permanent else 'temp'}"


_REDIRECT_TYPES: Final = {"temp": False, "perm": True}


def _parse_redirect(data: bytes) -> Redirect | None:
    words = words_of(data)
    place = words.take()
    if not place:
        return None
    kind = words.take()
    if not kind:
        raise invalid("Redirection type required")
    words.expect_end()
    address, port = _split_place(place)
    if len(encode(address)) > _LONGEST_ADDRESS:
        raise SysfsError(errno.ERANGE, f"Too long address {address}")
    # The daemon checks the address within brackets, and stores it as written.
    if not is_address(address.removeprefix("[").partition("]")[0]):
        raise invalid(f"Invalid address {address}")
    permanent = _REDIRECT_TYPES.get(kind.lower())
    if permanent is None:
        raise invalid(f"Invalid redirection type {kind}")
    return Redirect(address, port, permanent)


# NI_MAXHOST (1025), its terminating NUL included.
_LONGEST_ADDRESS: Final = 1025


def _split_place(place: str) -> tuple[str, int]:
    """Address and port of ``ADDRESS[:PORT]``."""
    bracket = place.rfind("]")
    colon = place.rfind(":") if bracket < 0 else place.find(":", bracket)
    if colon < 0:
        return place, DEFAULT_PORT
    port = int32(strtol_prefix(encode(place[colon + 1 :]), base=10))
    if port <= 0:
        raise invalid(f"Invalid port in {place}")
    return place[:colon], port


def _set_redirect(target: IscsiTarget, redirect: Redirect | None) -> None:
    target.redirect = redirect


def _set_alias(target: IscsiTarget, alias: str) -> None:
    target.alias = alias or None
    target.iscsi_driver.live.alias_changed(target)


def _set_dedicated_threads(acg: Acg, value: bool) -> None:
    acg.per_sess_dedicated_tgt_threads = value


TARGET: Final[DirType[IscsiTarget]] = target_type(
    "iSCSI target",
    (
        Attr(
            name="enabled",
            mode=0o644,
            show=lambda target: flag(target.switched_on),
            parse=first_char,
            store=_set_enabled,
            queued=True,
            since="2.0",
            reads="1 if the target accepts logins (once the driver is enabled, too), else 0",
            accepts="0 or 1; what follows the first character is ignored",
            refuses="EINVAL: another first character; EBADSLT: another active target has the same "
            "rel_tgt_id",
            effect="enabling gives a target without rel_tgt_id the next free one; existing "
            "sessions stay when it is disabled",
        ),
        Attr(
            name="tid",
            mode=0o444,
            show=lambda target: str(target.tid),
            since="2.0",
            reads="the target's number",
        ),
        *(_parameter(key) for key in ATTRIBUTES),
        Attr(
            name="per_portal_acl",
            mode=0o644,
            show=lambda target: flag(target.per_portal_acl),
            key=lambda target: target.per_portal_acl,
            render=daemon_lines,
            parse=daemon_switch,
            store=_set_per_portal_acl,
            since="2.0",
            reads="1 if groups see INITIATOR#PORTAL instead of the initiator's name, else 0",
            accepts="0 or 1",
            refuses="EINVAL: anything else",
            key_when="1",
            effect=_NEXT_LOGIN,
        ),
        Attr(
            name="redirect",
            mode=0o644,
            show=_show_redirect,
            key=lambda target: target.redirect is not None,
            render=daemon_value,
            parse=_parse_redirect,
            store=_set_redirect,
            since="2.0",
            reads="where logins are redirected, temporarily or permanently; empty for nowhere",
            accepts="`ADDRESS[:PORT] temp`, `ADDRESS[:PORT] perm` or an empty line",
            refuses="EINVAL: anything else; ERANGE: an address of more than 1025 bytes",
            key_when="set",
            effect=_NEXT_LOGIN,
        ),
        Attr(
            name="alias",
            mode=0o644,
            show=lambda target: target.alias or "",
            key=lambda target: target.alias is not None,
            render=daemon_value,
            parse=stripped,
            store=_set_alias,
            since="3.8",
            reads="the target's alias",
            accepts="any text; an empty line for none",
            key_when="set",
            effect="initiators see it at the next login (TargetAlias, RFC 7143 13.6)",
        ),
        *(instances(name) for name in iscsi_mgmt.TARGET_ATTRIBUTES),
    ),
    SESSION,
    (
        Attr(
            name="per_sess_dedicated_tgt_threads",
            mode=0o644,
            show=lambda acg: flag(acg.per_sess_dedicated_tgt_threads),
            key=lambda acg: acg.per_sess_dedicated_tgt_threads,
            parse=any_nonzero,
            store=_set_dedicated_threads,
            since="3.3",
            reads="1 if sessions have their own threads, else 0",
            accepts="0, or another number for 1",
            refuses="EINVAL: anything else",
            key_when="1",
            effect="none: one event loop serves all connections",
        ),
    ),
)
