"""``targets/copy_manager/``."""

from __future__ import annotations

from typing import Any, Final

from scstfs.core.session import Session
from scstfs.drivers.copy_manager import CopyManager
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Each
from scstfs.sysfs.values import any_nonzero, flag
from scstfs.tree.protection_counters import checks_failed
from scstfs.tree.sessions import session_type
from scstfs.tree.targets import target_type

_CAPABILITIES: Final[Attr[Any, None]] = Attr(
    name="dif_capabilities",
    mode=0o444,
    show=lambda obj: (
        "dif_supported, hw_dif_type1_supported, hw_dif_type2_supported, hw_dif_type3_supported"
    ),
    since="3.1",
    reads="protection information that SCST's copy manager could handle",
)

SESSION: Final[DirType[Session]] = session_type(
    "copy manager's session", (checks_failed(queued=True),)
)

TARGET: Final[DirType[Any]] = target_type(
    "copy manager's target", (_CAPABILITIES, checks_failed(queued=False)), SESSION
)


def _allow(driver: CopyManager, value: bool) -> None:
    driver.allow_not_connected_copy = value


DRIVER: Final[DirType[CopyManager]] = DirType(
    "copy manager",
    (
        Attr(
            name="allow_not_connected_copy",
            mode=0o644,
            show=lambda driver: flag(driver.allow_not_connected_copy),
            key=lambda driver: driver.allow_not_connected_copy,
            parse=any_nonzero,
            store=_allow,
            since="3.1",
            reads="1 if copies between devices are allowed that the initiator does not see",
            accepts="0, or another number for 1",
            refuses="EINVAL: anything else",
            key_when="1",
            effect="from the next copy on",
        ),
        _CAPABILITIES,
        Each(
            children=lambda driver: driver.targets,
            get=lambda driver, name: driver.targets.get(name),
            dirtype=TARGET,
            label="TARGET",
            about="copy_manager_tgt: initiator of the copies that EXTENDED COPY requests, with a "
            "LUN for each device",
        ),
    ),
)
