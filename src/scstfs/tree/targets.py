"""Rows of all targets, for all drivers: attributes, LUN sets, groups, sessions."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final, TypeVar

from scstfs.core.counters import DIRECTIONS
from scstfs.core.scst import Scst, registry_of
from scstfs.core.session import Session
from scstfs.core.target import Acg, Target
from scstfs.sysfs.attr import Attr, optional_line
from scstfs.sysfs.directory import DirType, Each, Sub
from scstfs.sysfs.entry import Entry, itself
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.numbers import kstrtoul
from scstfs.sysfs.text import chomp
from scstfs.sysfs.values import first_char, flag, int_zero_or_one
from scstfs.tree.groups import GROUP, group_rows, groups
from scstfs.tree.luns import LUNS
from scstfs.tree.sessions import COUNTERS

TargetT = TypeVar("TargetT", bound=Target)

MAX_REL_TGT_ID: Final = 0xFFFF


def _parse_rel_tgt_id(data: bytes) -> int:
    try:
        return kstrtoul(data)
    except SysfsError as refusal:
        raise invalid(refusal.reason) from None


def _set_rel_tgt_id(target: Target, value: int) -> None:
    scst, active = registry_of(target), target.is_active
    # SCST compares the low 16 bits before it checks the rest of the number.
    if active and value != target.rel_tgt_id:
        require_unique(scst, target, value & MAX_REL_TGT_ID)
    if not 0 < value <= MAX_REL_TGT_ID and (value or active):
        raise invalid(f"Invalid relative port id {value} (max {MAX_REL_TGT_ID})")
    target.rel_tgt_id = value


def require_unique(scst: Scst, target: Target, rel_tgt_id: int) -> None:
    """Refuse with EBADSLT an identifier that another active target has."""
    if not scst.rel_tgt_id_is_free(rel_tgt_id, for_target=target):
        raise SysfsError(errno.EBADSLT, f"Relative port id {rel_tgt_id} is not unique")


def _set_forward_src(target: Target, value: bool) -> None:
    target.forward_src = value


def _set_forward_dst(target: Target, value: int) -> None:
    target.forward_dst = bool(value)


def _set_aen_disabled(target: Target, value: int) -> None:
    target.aen_disabled = bool(value)


def _set_comment(target: Target, value: str) -> None:
    target.comment = value


def _forward_dst(name: str, since: str) -> Attr[Target, int]:
    return Attr(
        name=name,
        mode=0o644,
        show=lambda target: flag(target.forward_dst),
        key=lambda target: target.forward_dst,
        parse=first_char,
        store=_set_forward_dst,
        since=since,
        reads="1 if commands come from another node that forwards them",
        accepts="0 or 1; what follows the first character is ignored",
        refuses="EINVAL: another first character",
        key_when="1",
        effect="reservations are not checked: the other node has done that",
    )


def default_acg(target: Target) -> Acg:
    """The target-oriented LUN set."""
    return target.default_acg


def _total(direction: str, column: str, shift: int) -> Callable[[Target], str]:
    def show(target: Target) -> str:
        total = sum(
            getattr(session.counters.of(direction), column) for session in target.sessions.values()
        )
        return str(total >> shift)

    return show


_STATISTICS: Final[tuple[Attr[Target, None], ...]] = tuple(
    Attr(
        name=f"{direction}_{column.suffix}",
        mode=0o444,
        show=_total(direction, column.field, column.shift),
        since=max("3.0", column.since),
        reads=f"{column.reads}, summed over the present sessions",
    )
    for direction in DIRECTIONS
    for column in COUNTERS
    if column.applies_to(direction)
)

_ATTRIBUTES: Final[tuple[Attr[Target, Any], ...]] = (
    Attr(
        name="rel_tgt_id",
        mode=0o644,
        show=lambda target: str(target.rel_tgt_id),
        key=lambda target: target.rel_tgt_id != 0,
        parse=_parse_rel_tgt_id,
        store=_set_rel_tgt_id,
        queued=True,
        since="2.0",
        reads="the relative target port identifier, 0 if there is none yet",
        accepts="1 to 65535; 0 too while the target is disabled",
        refuses="EBADSLT: another active target has it; EINVAL: any other number or text",
        key_when="not 0",
        effect="INQUIRY, REPORT TARGET PORT GROUPS and new registrations of persistent "
        "reservations use it",
    ),
    Attr(
        name="forward_src",
        mode=0o644,
        show=lambda target: flag(target.forward_src),
        key=lambda target: target.forward_src,
        parse=int_zero_or_one,
        store=_set_forward_src,
        since="3.5",
        reads="1 if commands of this target are forwarded to another node",
        accepts="0 or 1",
        refuses="EINVAL: anything else; ERANGE: more than 32 bits",
        key_when="1",
        effect="commands that SCST would execute itself are passed to the device",
    ),
    _forward_dst("forward_dst", "3.5"),
    _forward_dst("forwarding", "3.1"),
    Attr(
        name="aen_disabled",
        mode=0o644,
        show=lambda target: flag(target.aen_disabled),
        key=lambda target: target.aen_disabled,
        parse=first_char,
        store=_set_aen_disabled,
        since="3.8",
        reads="1 if changes are reported as unit attentions only",
        accepts="0 or 1; what follows the first character is ignored",
        refuses="EINVAL: another first character",
        key_when="1",
        effect="no asynchronous events but REPORTED LUNS DATA HAS CHANGED",
    ),
    Attr(
        name="comment",
        mode=0o644,
        show=lambda target: target.comment,
        key=lambda target: bool(target.comment),
        render=optional_line,
        parse=chomp,
        binary=True,
        store=_set_comment,
        since="2.1",
        reads="the comment; empty without one",
        accepts="any text; a newline alone removes it",
        key_when="there is one",
        effect="none",
    ),
    Attr(
        name="sg_tablesize",
        mode=0o444,
        show=lambda target: str(target.sg_tablesize),
        reads="the largest number of pages that one command may transfer",
    ),
    *group_rows(default_acg),
    *_STATISTICS,
)


def target_type(
    name: str,
    rows: tuple[Entry[TargetT], ...],
    session: DirType[Session],
    group_attributes: tuple[Attr[Acg, Any], ...] = (),
) -> DirType[TargetT]:
    """The type of a driver's targets: its own *rows*, sessions and groups."""
    group: DirType[Acg] = DirType(f"{name} group", (*GROUP, *group_attributes))
    common: tuple[Entry[Any], ...] = (
        *_ATTRIBUTES,
        Sub(
            name="luns",
            dirtype=LUNS,
            of=default_acg,
            about="the LUN set for initiators in no group",
        ),
        Sub(
            name="ini_groups",
            dirtype=groups(group),
            of=itself,
            about="groups of initiators with their own LUN sets",
        ),
        Sub(name="sessions", dirtype=_sessions(session), of=itself, about="the present sessions"),
    )
    return DirType(name, (*common, *rows))


def _sessions(session: DirType[Session]) -> DirType[Target]:
    return DirType(
        "sessions",
        (
            Each(
                children=lambda target: target.sessions,
                volatile=True,
                get=lambda target, name: target.sessions.get(name),
                dirtype=session,
                label="SESSION",
                about="a session, named after the initiator, with _1 ... if needed",
            ),
        ),
    )
