"""Access control groups (``ini_groups/``): the LUN set that each initiator sees.

`group_rows` are the attributes that groups and targets share; a target's apply to its default LUN
set.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from scstfs.core import access
from scstfs.core.scst import registry_of
from scstfs.core.target import Acg, BlackHole, IoGrouping, Target
from scstfs.core.waiting import retired
from scstfs.scsi.lun import AddressMethod
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.bitmap import format_cpu_bitmap, parse_cpu_bitmap
from scstfs.sysfs.directory import DirType, Each, EachAttr, Sub
from scstfs.sysfs.entry import itself
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.mgmt import Lexer, MgmtWrite, mgmt_attr
from scstfs.sysfs.numbers import first_char_switch, in_range, kstrtol, prefix_keyword
from scstfs.sysfs.text import cut_at_nul
from scstfs.sysfs.values import int32
from scstfs.tree.luns import LUNS
from scstfs.tree.naming import require_free

T = TypeVar("T")

# In the order in which SCST compares them, which matters: an initial is enough.
_METHODS: Final = {
    method.name: method
    for method in (AddressMethod.FLAT, AddressMethod.PERIPHERAL, AddressMethod.LUN)
}
_GROUPINGS: Final = {grouping.value: grouping for grouping in IoGrouping}


def _parse_method(data: bytes) -> AddressMethod:
    return _METHODS[prefix_keyword(data, tuple(_METHODS))]


def _parse_grouping(data: bytes) -> IoGrouping | int:
    try:
        return _GROUPINGS[prefix_keyword(data, tuple(_GROUPINGS))]
    except SysfsError:
        pass
    try:
        return int32(in_range(kstrtol, 1)(cut_at_nul(data)))
    except SysfsError as refusal:
        raise invalid(refusal.reason) from None


def _show_grouping(acg: Acg) -> str:
    grouping = acg.io_grouping
    return grouping.value if isinstance(grouping, IoGrouping) else str(grouping)


def _parse_black_hole(data: bytes) -> BlackHole:
    return BlackHole(first_char_switch(data, "01234"))


def _set_method(acg: Acg, method: AddressMethod) -> None:
    acg.addr_method = method


def _set_grouping(acg: Acg, grouping: IoGrouping | int) -> None:
    acg.io_grouping = grouping


def _set_black_hole(acg: Acg, black_hole: BlackHole) -> None:
    acg.black_hole = black_hole


def _is_new_mask(acg: Acg, data: bytes) -> bool:
    # The number of bits depends on the machine, which only the object knows.
    return parse_cpu_bitmap(data, acg.target.env.cpus) != acg.cpu_mask


def _set_mask(acg: Acg, data: bytes) -> None:
    acg.cpu_mask = parse_cpu_bitmap(data, acg.target.env.cpus)
    cpus = [cpu for cpu in range(acg.target.env.cpus) if acg.cpu_mask >> cpu & 1]
    for session in acg.sessions:
        for tgt_dev in session.tgt_devs.values():
            if tgt_dev.device.threads.are_own(tgt_dev):
                tgt_dev.pool.set_cpus(cpus)
    acg.target.cpu_mask_changed(acg)


def group_rows(acg_of: Callable[[T], Acg]) -> tuple[Attr[T, Any], ...]:
    """Rows about the LUN set that *acg_of* gives."""
    return (
        Attr(
            name="addr_method",
            mode=0o644,
            show=lambda obj: acg_of(obj).addr_method.name,
            key=lambda obj: acg_of(obj).addr_method is not acg_of(obj).target.driver.addr_method,
            parse=_parse_method,
            binary=True,
            store=lambda obj, method: _set_method(acg_of(obj), method),
            reads="PERIPHERAL, FLAT or LUN",
            accepts="one of these words in any case; an initial without newline is enough",
            refuses="EINVAL: anything else",
            key_when="not the driver's preference (PERIPHERAL)",
            effect="how LUNs are written in REPORT LUNS; all methods are understood",
            since="2.0",
        ),
        Attr(
            name="io_grouping_type",
            mode=0o644,
            show=lambda obj: _show_grouping(acg_of(obj)),
            key=lambda obj: acg_of(obj).io_grouping is not IoGrouping.AUTO,
            parse=_parse_grouping,
            binary=True,
            admit=lambda obj, grouping: acg_of(obj).io_grouping != grouping,
            store=lambda obj, grouping: _set_grouping(acg_of(obj), grouping),
            queued=True,
            reads="auto, this_group_only, never or a number",
            accepts="one of these words in any case, or a number above 0",
            refuses="EINVAL: anything else",
            key_when="not auto",
            effect="none: initiators share no I/O context here",
            since="2.0",
        ),
        Attr(
            name="black_hole",
            mode=0o644,
            show=lambda obj: str(acg_of(obj).black_hole.value),
            parse=_parse_black_hole,
            store=lambda obj, black_hole: _set_black_hole(acg_of(obj), black_hole),
            since="3.0",
            reads="0 to 4",
            accepts="0 answer everything; 1 never answer commands; 2 nor task management; "
            "3 commands with data only; 4 these and task management. "
            "What follows the first character is ignored",
            refuses="EINVAL: another first character",
            effect="from the next command on, also in existing sessions",
        ),
        Attr(
            name="cpu_mask",
            mode=0o644,
            show=lambda obj: _show_mask(acg_of(obj)),
            key=lambda obj: acg_of(obj).cpu_mask != (1 << acg_of(obj).target.env.cpus) - 1,
            parse=bytes,
            admit=lambda obj, data: _is_new_mask(acg_of(obj), data),
            store=lambda obj, data: _set_mask(acg_of(obj), data),
            queued=True,
            reads="a bit mask in hexadecimal, lowest CPU last",
            accepts="such a mask",
            refuses="EINVAL: no mask; EOVERFLOW: bits beyond the last CPU",
            key_when="not all CPUs",
            effect="the worker threads of the sessions' LUNs run on these CPUs (0: anywhere); "
            "sessions of iSCSI are closed",
            since="2.1",
        ),
    )


def _show_mask(acg: Acg) -> str:
    return format_cpu_bitmap(acg.cpu_mask, acg.target.env.cpus)


# Initiators


def _add(acg: Acg, arguments: Lexer) -> Awaitable[None]:
    _add_initiator(acg, arguments.required_word("Initiator name"))
    return _reassign_sessions(acg)


def _delete(acg: Acg, arguments: Lexer) -> Awaitable[None]:
    name = arguments.required_word("Initiator name")
    _require_initiator(acg, name)
    del acg.initiators[name]
    return _reassign_sessions(acg)


def _clear(acg: Acg, _arguments: Lexer) -> Awaitable[None]:
    acg.initiators.clear()
    return _reassign_sessions(acg)


def _move(acg: Acg, arguments: Lexer) -> Awaitable[None]:
    name = arguments.required_word("Initiator name")
    group = arguments.required_word("Group name")
    _require_initiator(acg, name)
    destination = acg.target.acgs.get(group)
    if destination is None:
        raise invalid(f"Group {group} not found in target {acg.target.name}")
    _add_initiator(destination, name)
    del acg.initiators[name]
    return _reassign_sessions(acg)


def _reassign_sessions(acg: Acg) -> Awaitable[None]:
    return retired(access.reassign_sessions(registry_of(acg.target)))


def _add_initiator(acg: Acg, name: str) -> None:
    require_free(INITIATORS, acg, name)
    acg.initiators[name] = None


def _require_initiator(acg: Acg, name: str) -> None:
    if name not in acg.initiators:
        raise invalid(f"Unable to find initiator {name} in group {acg.name}")


_INITIATOR_ACTIONS: Final[dict[str, Callable[[Acg, Lexer], Awaitable[None]]]] = {
    "add": _add,
    "del": _delete,
    "move": _move,
    "clear": _clear,
}


def _manage_initiators(acg: Acg, command: MgmtWrite) -> Awaitable[None]:
    return command.select(_INITIATOR_ACTIONS)(acg, command.arguments)


INITIATORS: Final[DirType[Acg]] = DirType(
    "initiators",
    (
        mgmt_attr(
            lambda acg: (
                'Usage: echo "add INITIATOR_NAME" >mgmt\n'
                '       echo "del INITIATOR_NAME" >mgmt\n'
                '       echo "move INITIATOR_NAME DEST_GROUP_NAME" >mgmt\n'
                '       echo "clear" >mgmt\n'
            ),
            _manage_initiators,
            accepts="`add PATTERN`, `del PATTERN`, `move PATTERN GROUP`, `clear`; in a pattern `*` "
            "stands for any characters, `?` for one, and `!` inverts the match",
            refuses="EINVAL: an unknown action, pattern or group, no name; EEXIST: the pattern is "
            "in the group already",
            effect="every session of every target moves to the group that its initiator's name now "
            "selects and is told of changes; returns when the last command to a LUN that went "
            "has ended",
        ),
        EachAttr(
            children=lambda acg: acg.initiators,
            get=lambda acg, name: name if name in acg.initiators else None,
            attr=Attr(name="NAME", mode=0o444, show=itself, since="2.0", reads="the pattern"),
            label="PATTERN",
        ),
    ),
)


# Groups

GROUP: Final[tuple[Any, ...]] = (
    *group_rows(itself),
    Sub(name="luns", dirtype=LUNS, of=itself, about="the LUN set that its initiators see"),
    Sub(name="initiators", dirtype=INITIATORS, of=itself, about="patterns of their names"),
)
"""Rows of a group, for all drivers."""


def groups(group: DirType[Acg]) -> DirType[Target]:
    """``ini_groups/`` of a driver whose groups are of type *group*."""

    def create(target: Target, arguments: Lexer) -> None:
        name = arguments.required_word("Group name")
        if name in target.acgs:
            raise SysfsError(errno.EEXIST, f"acg name {name} exist")
        target.check_group(name)
        require_free(dirtype, target, name)
        target.acgs[name] = Acg(target, name, target.env.cpus)

    actions: dict[str, Callable[[Target, Lexer], None]] = {"create": create, "del": _delete_group}

    def manage(target: Target, command: MgmtWrite) -> None:
        command.select(actions)(target, command.arguments)

    dirtype: DirType[Target] = DirType(
        "groups",
        (
            mgmt_attr(
                lambda target: (
                    'Usage: echo "create GROUP_NAME" >mgmt\n       echo "del GROUP_NAME" >mgmt\n'
                ),
                manage,
                accepts="`create GROUP`, `del GROUP`; further words are ignored",
                refuses="EINVAL: an unknown action or group, no name, a group of the copy "
                "manager's; EEXIST: the group exists; EBUSY: `del` of a group that sessions use",
                effect="the first group in order of creation that matches an initiator gets it",
            ),
            Each(
                children=lambda target: target.acgs,
                get=lambda target, name: target.acgs.get(name),
                dirtype=group,
                label="GROUP",
                about="a group of initiators",
            ),
        ),
    )
    return dirtype


def _delete_group(target: Target, arguments: Lexer) -> None:
    name = arguments.required_word("Group name")
    acg = target.acgs.get(name)
    if acg is None:
        raise invalid(f"Group {name} not found")
    if acg.sessions:
        raise SysfsError(errno.EBUSY, f"Group {name} is not empty")
    for acg_dev in list(acg.luns.values()):
        access.remove_lun(acg_dev)
    del target.acgs[name]
