"""Finds problems in the running configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from scstfs.admin.kinds import INTERNAL_DRIVER
from scstfs.admin.status.model import (
    FileState,
    Overview,
    Problem,
    TargetStatus,
)

NO_ACCESS: Final = frozenset({"standby", "unavailable", "offline", "transitioning"})
"""Asymmetric access states in which a device cannot be read (SPC-4 5.15.2.4)."""

ProblemTexts = Iterator[tuple[str, str]]
"""Path in the tree, and the problem there."""


def _suspended(status: Overview) -> ProblemTexts:
    if status.core.suspended:
        yield "suspend", "the execution of all commands is suspended"


def _driver_closed(status: Overview) -> ProblemTexts:
    for driver in status.drivers or ():
        if driver.state not in (None, "open"):
            yield driver.path, f"its daemon does not serve it: {driver.state}"


def _driver_disabled(status: Overview) -> ProblemTexts:
    used = {target.driver for target in status.targets or ()}
    for driver in status.drivers or ():
        if driver.enabled is False and driver.name in used:
            yield driver.path, "disabled: its targets accept no logins"


def _served(status: Overview) -> Iterator[TargetStatus]:
    """Targets that initiators can log in to."""
    return (target for target in status.targets or () if target.driver != INTERNAL_DRIVER)


def _target_disabled(status: Overview) -> ProblemTexts:
    for target in _served(status):
        if target.enabled is False:
            yield target.path, "disabled: accepts no logins"


def _no_luns(status: Overview) -> ProblemTexts:
    for target in _served(status):
        if not any(luns for _path, luns in target.lun_sets()):
            yield target.path, "has no LUNs"
            continue
        for group in target.groups:
            if not group.luns:
                path = f"{target.path}/ini_groups/{group.name}"
                yield path, "has no LUNs: its initiators see nothing"


def _no_lun_0(status: Overview) -> ProblemTexts:
    for target in _served(status):
        for path, luns in target.lun_sets():
            if luns and all(lun.lun for lun in luns):
                yield path, "LUN 0 is missing: initiators ask it which others there are"


def _black_hole(status: Overview) -> ProblemTexts:
    for target in _served(status):
        if target.black_hole:
            yield target.path, f"black_hole is {target.black_hole}: commands get no answer"
        for group in target.groups:
            if group.black_hole:
                path = f"{target.path}/ini_groups/{group.name}"
                yield path, f"black_hole is {group.black_hole}: commands get no answer"


def _session_without_luns(status: Overview) -> ProblemTexts:
    targets = {(t.driver, t.name): t for t in _served(status)}
    for session in status.sessions or ():
        target = targets.get((session.driver, session.target))
        if target is not None and session.group is None and target.groups and not target.luns:
            yield session.path, "sees no LUN: no group of the target names its initiator"


def _inactive(status: Overview) -> ProblemTexts:
    for device in status.devices or ():
        if device.active is False:
            yield device.path, "not active: commands end with MEDIUM NOT PRESENT"


def _blocked(status: Overview) -> ProblemTexts:
    for device in status.devices or ():
        if device.blocked:
            yield device.path, "blocked: commands wait"


def _file(state: FileState, message: str) -> Callable[[Overview], ProblemTexts]:
    def find(status: Overview) -> ProblemTexts:
        for device in status.devices or ():
            if device.file_state is state:
                yield device.path, f"{message}: {device.file}"

    return find


def _no_handler(status: Overview) -> ProblemTexts:
    exported = {lun.device for t in _served(status) for _path, luns in t.lun_sets() for lun in luns}
    for device in status.devices or ():
        if device.handler is None and device.name in exported:
            yield device.path, "has LUNs but no handler: they cannot be used"


def _no_access(status: Overview) -> ProblemTexts:
    for group in status.device_groups or ():
        for targets in group.target_groups:
            here = any(target.driver is not None for target in targets.targets)
            if here and group.devices and targets.state in NO_ACCESS:
                path = f"{group.path}/target_groups/{targets.name}"
                yield path, f"{targets.state}: devices cannot be read through its targets"


def _fenced(status: Overview) -> ProblemTexts:
    for fact in status.cluster or ():
        if fact.subject == "node" and fact.values.get("state") == "fenced":
            reason = fact.values.get("reason", "unknown")
            yield "cluster_status", f"devices in cluster mode are fenced: {reason}"


_RULES: Final[Mapping[str, Callable[[Overview], ProblemTexts]]] = {
    "suspended": _suspended,
    "driver_closed": _driver_closed,
    "driver_disabled": _driver_disabled,
    "target_disabled": _target_disabled,
    "no_luns": _no_luns,
    "no_lun_0": _no_lun_0,
    "black_hole": _black_hole,
    "session_without_luns": _session_without_luns,
    "device_inactive": _inactive,
    "device_blocked": _blocked,
    "file_missing": _file(FileState.MISSING, "its file is missing"),
    "file_silent": _file(FileState.SILENT, "the file system of its file does not answer"),
    "no_handler": _no_handler,
    "no_access": _no_access,
    "fenced": _fenced,
}

CODES: Final = tuple(_RULES)
"""The values of `Problem.code`. A code keeps its meaning."""


def find(status: Overview) -> tuple[Problem, ...]:
    """Problems in the parts that *status* has."""
    return tuple(
        Problem(code, path, message)
        for code, rule in _RULES.items()
        for path, message in rule(status)
    )
