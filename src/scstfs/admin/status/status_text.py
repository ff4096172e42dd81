"""The status as text for users."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from scstfs.admin.display import several, size, table
from scstfs.admin.kinds import INTERNAL_DRIVER
from scstfs.admin.status.model import (
    ALL,
    DeviceStatus,
    FileState,
    Group,
    Lun,
    Overview,
    Section,
    SessionStatus,
    TargetGroupStatus,
    TargetStatus,
)
from scstfs.admin.status.problems import NO_ACCESS
from scstfs.printable import printable

_BAD: Final = "red"
_GOOD: Final = "green"
_INDENT: Final = 4

Parts = Iterator[RenderableType]


def _heading(words: str) -> Text:
    return Text(f"\n{words}", style="bold underline")


def _indented(text: Text, steps: int = 1) -> RenderableType:
    return Padding(text, (0, 0, 0, steps * _INDENT))


# --- the beginning -----------------------------------------------------------------------------


def _summary(status: Overview) -> Parts:
    core = status.core
    by = f" ({core.build})" if core.build else ""
    yield Text(f"SCST {core.version or 'of unknown version'}{by} at {printable(status.tree)}")
    counts = []
    if status.targets is not None:
        served = [t for t in status.targets if t.driver != INTERNAL_DRIVER]
        counts.append(several(len(served), "target"))
        counts.append(several(sum(t.sessions for t in served), "session"))
    if status.devices is not None:
        counts.append(several(len(status.devices), "device"))
    if counts:
        yield Text(", ".join(counts))


def _problems(status: Overview, _wide: bool) -> Parts:
    found = status.problems or ()
    if not found:
        yield Text("no problems", style=_GOOD)
        return
    yield _heading("Needs attention")
    for problem in found:
        yield Text.assemble((printable(problem.path), "bold"), f": {printable(problem.message)}")


# --- targets -----------------------------------------------------------------------------------


def _state(enabled: bool | None) -> tuple[str, str]:
    if enabled is None:
        return "always on", _GOOD
    return ("enabled", _GOOD) if enabled else ("disabled", _BAD)


def _luns(luns: tuple[Lun, ...]) -> Text:
    if not luns:
        return Text("no LUNs")
    words = (
        f"{lun.lun}: {printable(lun.device)}{' (read-only)' if lun.read_only else ''}"
        for lun in luns
    )
    return Text(f"LUN {', '.join(words)}")


def _targets(status: Overview, _wide: bool) -> Parts:
    yield _heading("Targets")
    names = Counter(target.driver for target in status.targets or ())
    for driver in status.drivers or ():
        if driver.name == INTERNAL_DRIVER or (driver.enabled is None and not names[driver.name]):
            continue
        state = (printable(driver.name), "bold"), ": ", _state(driver.enabled)
        yield Text.assemble(*state, f", {several(names[driver.name], 'target')}")
        for target in status.targets or ():
            if target.driver == driver.name:
                yield from _target(target)


def _target(target: TargetStatus) -> Parts:
    words = [several(target.sessions, "session")]
    if target.rel_tgt_id:
        words.insert(0, f"relative port {target.rel_tgt_id}")
    state = _state(target.enabled)
    yield _indented(
        Text.assemble((printable(target.name), "bold"), ": ", state, f", {', '.join(words)}")
    )
    if target.luns or not target.groups:
        yield _indented(_luns(target.luns), 2)
    for group in target.groups:
        yield from _group(group)


def _group(group: Group) -> Parts:
    yield _indented(Text.assemble((printable(group.name), "bold"), ": ", _luns(group.luns)), 2)
    names = ", ".join(printable(name) for name in group.initiators)
    yield _indented(Text(f"for {names or 'no initiators'}"), 3)


# --- sessions ----------------------------------------------------------------------------------


def _sessions(status: Overview, wide: bool) -> Parts:
    yield _heading("Sessions")
    shown: dict[tuple[str, str], dict[str | None, list[SessionStatus]]] = {}
    for session in status.sessions or ():
        if session.driver != INTERNAL_DRIVER:
            groups = shown.setdefault((session.driver, session.target), {})
            groups.setdefault(session.group, []).append(session)
    if not shown:
        yield Text("none")
    for target in status.targets or ():
        groups = shown.get((target.driver, target.name), {})
        name = f"{printable(target.driver)}/{printable(target.name)}"
        for group, sessions in groups.items():
            in_group = "" if group is None else f", group {printable(group)}"
            yield Text.assemble((name, "bold"), in_group)
            yield Padding(_session_table(sessions, wide), (0, 0, 0, _INDENT))
        more = target.sessions - sum(map(len, groups.values()))
        if groups and more > 0:
            yield _indented(Text(f"and {more:,} more (see them with --all)"))


def _session_table(sessions: list[SessionStatus], wide: bool) -> RenderableType:
    made = table(("initiator", "left"), ("from", "left"), ("LUNs", "right"), ("commands", "right"))
    if wide:
        made.add_column("portal", overflow="fold")
    for session in sessions:
        portals = dict.fromkeys(c.portal or "-" for c in session.connections)
        cells: list[RenderableType] = [
            Text(printable(session.initiator)),
            Text("\n".join(printable(c.address) for c in session.connections) or "-"),
            str(len(session.luns)),
            str(session.commands),
        ]
        if wide:
            cells.append(Text("\n".join(map(printable, portals)) or "-"))
        made.add_row(*cells)
    return made


# --- devices -----------------------------------------------------------------------------------


def _device_state(device: DeviceStatus) -> Text:
    bad = []
    if device.active is False:
        bad.append("inactive")
    if device.blocked:
        bad.append("blocked")
    if device.file_state is FileState.MISSING:
        bad.append("file missing")
    if device.file_state is FileState.SILENT:
        bad.append("file silent")
    good = ["read-only"] if device.read_only else []
    if device.reservations_saved:
        good.append("reserved")
    return Text(", ".join([*bad, *good]) or "ok", style=_BAD if bad else _GOOD)


def _devices(status: Overview, _wide: bool) -> Parts:
    yield _heading("Devices")
    if not status.devices:
        yield Text("none")
        return
    made = table(
        ("device", "left"),
        ("handler", "left"),
        ("size", "right"),
        ("state", "left"),
        ("file", "left"),
    )
    for device in status.devices:
        made.add_row(
            Text(printable(device.name)),
            Text(printable(device.handler or "none")),
            "-" if device.size is None else size(device.size),
            _device_state(device),
            Text(printable(device.file or device.scsi_device or "-")),
        )
    yield made


# --- device groups -----------------------------------------------------------------------------


def _groups(status: Overview, _wide: bool) -> Parts:
    yield _heading("Device groups")
    if not status.device_groups:
        yield Text("none")
    for group in status.device_groups or ():
        devices = ", ".join(printable(name) for name in group.devices) or "no devices"
        yield Text.assemble((printable(group.name), "bold"), f": {devices}")
        for targets in group.target_groups:
            yield from _target_group(targets)


def _target_group(group: TargetGroupStatus) -> Parts:
    state = (group.state, _BAD if group.state in NO_ACCESS else _GOOD)
    preferred = ", preferred" if group.preferred else ""
    yield _indented(
        Text.assemble((printable(group.name), "bold"), ": ", state, f"{preferred}, id {group.id}")
    )
    for target in group.targets:
        where = f"{target.driver}/" if target.driver else "elsewhere: "
        yield _indented(Text(f"{where}{printable(target.name)}"), 2)


# --- the cluster -------------------------------------------------------------------------------


def _cluster(status: Overview, _wide: bool) -> Parts:
    yield _heading("Cluster")
    if not status.cluster:
        yield Text("none")
        return
    for fact in status.cluster:
        words = (
            printable(f"{key} {value}") for key, value in fact.values.items() if key != "state"
        )
        state = fact.values.get("state", "")
        style = _BAD if state in ("fenced", "closed", "alone") else _GOOD
        parts = ", ".join(words)
        yield Text.assemble(
            f"{printable(fact.subject)} ",
            (printable(fact.name), "bold"),
            ": " * bool(state or parts),
            (printable(state), style),
            ", " * bool(state and parts),
            parts,
        )


_SECTIONS: Final[Mapping[Section, Callable[[Overview, bool], Parts]]] = {
    Section.PROBLEMS: _problems,
    Section.TARGETS: _targets,
    Section.SESSIONS: _sessions,
    Section.DEVICES: _devices,
    Section.GROUPS: _groups,
    Section.CLUSTER: _cluster,
}
"""In the order of the output."""


def render(status: Overview, sections: Collection[Section], *, wide: bool = True) -> Parts:
    """The requested parts, ready to print; *wide* with less important columns."""
    yield from _summary(status)
    for section, parts in _SECTIONS.items():
        content = {Section.GROUPS: status.device_groups, Section.CLUSTER: status.cluster}
        rare = sections == ALL and not content.get(section, True)
        if section in sections and not rare:
            yield from parts(status, wide)
