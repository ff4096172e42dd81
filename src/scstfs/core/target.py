"""Targets, access control groups and LUN mappings (what SysfsRules calls LUN masking)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from scstfs import log, patterns
from scstfs.core.errors import Refused
from scstfs.core.gated import Gated
from scstfs.observable import ObservableDict
from scstfs.scsi.lun import AddressMethod
from scstfs.sysfs.text import NAME_MAX, decode, encode, kobject_name

if TYPE_CHECKING:
    from scstfs.core.device import Device
    from scstfs.core.environment import Environment
    from scstfs.core.session import Session


_NAMES_OF_NOTHING: Final = ("", ".", "..")


class BlackHole(enum.IntEnum):
    """``black_hole``: which requests are accepted and never answered."""

    NONE = 0
    COMMANDS = 1
    ALL = 2
    DATA_COMMANDS = 3
    DATA_COMMANDS_AND_TASK_MANAGEMENT = 4

    @property
    def swallows_task_management(self) -> bool:
        """Task management requests get no answer either."""
        return self in (BlackHole.ALL, BlackHole.DATA_COMMANDS_AND_TASK_MANAGEMENT)


class IoGrouping(enum.Enum):
    """``io_grouping_type`` words; a number > 0 is the fourth form."""

    AUTO = "auto"
    THIS_GROUP_ONLY = "this_group_only"
    NEVER = "never"


class AcgDev:
    """A LUN of a group: device, number, write access.  ``exported/exportN`` is its back link."""

    def __init__(self, acg: Acg, device: Device, lun: int, *, read_only: bool) -> None:
        self.acg = acg
        self.device = device
        self.lun = lun
        self.read_only = read_only
        #: Number of the ``exportN`` link; counted per device and never used again.
        self.export = device.take_export_number()


class Acg:
    """An access control group: a LUN set and, except for the default one, the initiators that see
    it.
    """

    black_hole: Gated[BlackHole] = Gated(BlackHole.NONE)

    def __init__(self, target: Target, name: str, cpus: int) -> None:
        self.target = target
        self.name = name
        self.luns: ObservableDict[int, AcgDev] = ObservableDict()
        #: Initiator name patterns in the order they were added.
        self.initiators: ObservableDict[str, None] = ObservableDict()
        self.sessions: dict[Session, None] = {}
        self.addr_method: AddressMethod = target.driver.addr_method
        self.io_grouping: IoGrouping | int = IoGrouping.AUTO
        self.cpu_mask = (1 << cpus) - 1
        self.per_sess_dedicated_tgt_threads = False

    def __str__(self) -> str:
        """Its name in the log."""
        return self.name

    @property
    def log_fields(self) -> dict[str, str]:
        """See ``scstfs.log.Subject``."""
        return self.target.log_fields

    @property
    def is_default(self) -> bool:
        """It is the target-oriented LUN set, which has no directory under ``ini_groups``."""
        return self.target.default_acg is self

    def matches(self, initiator_name: str) -> bool:
        """One of the patterns matches ``initiator_name``."""
        return any(patterns.match(pattern, initiator_name) for pattern in self.initiators)


class TargetDriver(Protocol):
    """A target driver as the core sees it (``targets/NAME``)."""

    @property
    def name(self) -> str:
        """Name of its directory."""

    @property
    def env(self) -> Environment:
        """The surroundings of its sessions."""

    @property
    def addr_method(self) -> AddressMethod:
        """How its initiators prefer LUNs to be written."""

    @property
    def protocol(self) -> int:
        """Protocol identifier of its TransportIDs (SPC-4 table 476)."""

    @property
    def scsi_transport_version(self) -> int:
        """Version descriptor of its SCSI transport protocol (SPC-4 table 148)."""

    @property
    def targets(self) -> Mapping[str, Target]:
        """Its targets by name, in order of creation."""


class Target:
    """A SCSI target port (``targets/DRIVER/NAME``)."""

    #: Nodes that forward commands to this target have checked reservations already.
    forward_dst: Gated[bool] = Gated(False)

    def __init__(self, driver: TargetDriver, name: str, cpus: int) -> None:
        self.driver = driver
        self.env: Final[Environment] = driver.env
        self.name = name
        self.rel_tgt_id = 0
        self.comment = ""
        self.aen_disabled = False
        self.forward_src = False
        self.sg_tablesize = 65535
        #: Version descriptors of INQUIRY: the SCSI transport protocol and what is below it.
        self.scsi_transport_version = driver.scsi_transport_version
        self.phys_transport_version = 0
        self.sessions: ObservableDict[str, Session] = ObservableDict()
        self.acgs: ObservableDict[str, Acg] = ObservableDict()
        self.default_acg = Acg(self, name, cpus)

    def __str__(self) -> str:
        """Its name in the log."""
        return self.name

    @property
    def log_fields(self) -> dict[str, str]:
        """See ``scstfs.log.Subject``."""
        return log.target_fields(self.name)

    @property
    def is_active(self) -> bool:
        """Enabled, as targets are that cannot be disabled."""
        return True

    def check_group(self, name: str) -> None:
        """Raise Refused if the driver cannot use a new access control group."""

    #: Protection information can be carried.
    carries_protection = False

    def check_lun(self, device: Device, *, read_only: bool) -> None:
        """Raise Refused if the driver cannot use a new LUN."""
        if device.is_protected and not self.carries_protection:
            raise Refused(f"Target {self.name} doesn't support T10-PI (device {device.name})")

    def lun_added(self, acg_dev: AcgDev) -> None:
        """A LUN was added to one of the target's sets by a management command."""

    def cpu_mask_changed(self, acg: Acg) -> None:
        """The CPU mask of one of the target's LUN sets has changed."""

    def all_acgs(self) -> list[Acg]:
        """The default LUN set and every group."""
        return [self.default_acg, *self.acgs.values()]

    def find_acg(self, initiator_name: str) -> Acg:
        """The LUN set for an initiator: first match in order of creation, else the default."""
        for acg in self.acgs.values():
            if acg.matches(initiator_name):
                return acg
        return self.default_acg

    def free_session_name(self, initiator_name: str) -> str:
        """The session directory's name: the initiator's, or with the lowest free ``_N``.

        Characters that a directory name cannot have are replaced; initiators may choose any name.
        """
        shown = kobject_name(initiator_name)
        stem = encode(f"_{shown}" if shown in _NAMES_OF_NOTHING else shown)
        name, number = decode(stem[:NAME_MAX]), 0
        while name in self.sessions:
            number += 1
            suffix = f"_{number}"
            name = decode(stem[: NAME_MAX - len(suffix)]) + suffix
        return name
