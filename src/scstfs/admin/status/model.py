"""The data of `scstfs status`, as the tree shows it.

The fields of these classes are the schema of ``scstfs status --json``, which docs/management.md
describes; `SCHEMA` changes when one is removed or changes its meaning. None stands for values that
the object does not have, or that cannot be read.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

SCHEMA: Final = 1


class Section(enum.Enum):
    """A part of the output that can be selected."""

    PROBLEMS = "problems"
    TARGETS = "targets"
    SESSIONS = "sessions"
    DEVICES = "devices"
    GROUPS = "groups"
    CLUSTER = "cluster"


ALL: Final = frozenset(Section)


@dataclass(frozen=True, slots=True)
class Core:
    """The target as a whole.

    Attributes:
        version: of SCST, or of the SCST whose interface it has.
        build: further version information, such as the release of scstfs.
        suspended: how many times the execution of commands is suspended.
        measure_latency: times of commands are measured.
    """

    version: str | None
    build: str | None
    suspended: int
    measure_latency: bool


@dataclass(frozen=True, slots=True)
class Driver:
    """A target driver.

    Attributes:
        enabled: None if it cannot be enabled or disabled.
        state: the state of its daemon ("open" if it serves), for drivers that have one.
    """

    name: str
    enabled: bool | None
    state: str | None

    @property
    def path(self) -> str:
        """Its path in the tree."""
        return f"targets/{self.name}"


@dataclass(frozen=True, slots=True)
class Lun:
    """A LUN that initiators see."""

    lun: int
    device: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A group of initiators with its own LUN set.

    Attributes:
        initiators: patterns of their names.
        black_hole: not 0 if commands get no answer.
    """

    name: str
    initiators: tuple[str, ...]
    luns: tuple[Lun, ...]
    black_hole: int


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target.

    Attributes:
        enabled: whether it accepts logins; None if it always does.
        rel_tgt_id: relative target port identifier, 0 for none.
        sessions: their number.
        luns: the LUNs for initiators in no group.
        black_hole: not 0 if their commands get no answer.
    """

    driver: str
    name: str
    enabled: bool | None
    rel_tgt_id: int
    sessions: int
    luns: tuple[Lun, ...]
    groups: tuple[Group, ...]
    black_hole: int

    @property
    def path(self) -> str:
        """Its path in the tree."""
        return f"targets/{self.driver}/{self.name}"

    def lun_sets(self) -> Iterator[tuple[str, tuple[Lun, ...]]]:
        """Every LUN set with its path in the tree, the default one first."""
        yield f"{self.path}/luns", self.luns
        for group in self.groups:
            yield f"{self.path}/ini_groups/{group.name}/luns", group.luns


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """A connection of a session.

    Attributes:
        address: the initiator's, which is the name of the connection's directory.
        portal: the local address of the connection.
    """

    address: str
    portal: str | None


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A session of an initiator with a target.

    Attributes:
        name: of its directory.
        group: the group whose LUNs it sees; None for those of the target.
        luns: their numbers.
        commands: the number of its commands, in any phase.
    """

    driver: str
    target: str
    name: str
    initiator: str
    group: str | None
    luns: tuple[int, ...]
    commands: int
    connections: tuple[ConnectionStatus, ...]

    @property
    def path(self) -> str:
        """Its path in the tree."""
        return f"targets/{self.driver}/{self.target}/sessions/{self.name}"


class FileState(enum.StrEnum):
    """The state of a device's backing file."""

    PRESENT = "present"
    MISSING = "missing"
    SILENT = "silent"
    """The file system does not answer."""


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device.

    Attributes:
        handler: None for a SCSI device that is not assigned to one.
        type: SCSI peripheral device type and its name.
        size: bytes.
        block_size: bytes.
        active: its file is open.
        file: its backing file; None also for a drive without a medium.
        file_state: None if there is no file.
        blocked: how many times it is blocked.
        reservations_file: the file of persistent reservations that survive a power loss (APTPL).
        reservations_saved: whether there are such reservations.
        scsi_device: the passed-through device of the machine.
    """

    name: str
    handler: str | None
    type: str | None
    size: int | None
    block_size: int | None
    read_only: bool | None
    active: bool | None
    file: str | None
    file_state: FileState | None
    blocked: int
    reservations_file: str | None
    reservations_saved: bool | None
    scsi_device: str | None

    @property
    def path(self) -> str:
        """Its path in the tree."""
        return f"devices/{self.name}"


@dataclass(frozen=True, slots=True)
class GroupTargetStatus:
    """A target in a target group.

    Attributes:
        driver: None for a target on another node.
        rel_tgt_id: the one on the other node; None for a local target.
    """

    driver: str | None
    name: str
    rel_tgt_id: int | None


@dataclass(frozen=True, slots=True)
class TargetGroupStatus:
    """Targets that share one access state for the devices of a group.

    Attributes:
        id: target port group identifier, 0 for none.
        state: asymmetric access state.
    """

    name: str
    id: int
    state: str
    preferred: bool
    targets: tuple[GroupTargetStatus, ...]


@dataclass(frozen=True, slots=True)
class DeviceGroupStatus:
    """Devices that share target groups."""

    name: str
    devices: tuple[str, ...]
    target_groups: tuple[TargetGroupStatus, ...]

    @property
    def path(self) -> str:
        """Its path in the tree."""
        return f"device_groups/{self.name}"


@dataclass(frozen=True, slots=True)
class ClusterFact:
    """Something that a node knows of its cluster.

    Attributes:
        subject: etcd, node (this one), member, port, unit or group.
        name: of the subject.
        values: what is known of it.
    """

    subject: str
    name: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem.

    Attributes:
        code: one of `problems.CODES`.
        path: of the object concerned, in the tree.
        message: text for users.
    """

    code: str
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Overview:
    """All data; None for parts that were not requested."""

    tree: str
    core: Core
    drivers: tuple[Driver, ...] | None = None
    targets: tuple[TargetStatus, ...] | None = None
    sessions: tuple[SessionStatus, ...] | None = None
    devices: tuple[DeviceStatus, ...] | None = None
    device_groups: tuple[DeviceGroupStatus, ...] | None = None
    cluster: tuple[ClusterFact, ...] | None = None
    problems: tuple[Problem, ...] | None = None

    def json(self, sections: Collection[Section]) -> dict[str, Any]:
        """The parts that belong to *sections*, for json.dumps()."""
        parts: dict[str, Any] = {"schema": SCHEMA, "tree": self.tree, "core": asdict(self.core)}
        for section in Section:
            if section in sections:
                for name in _PARTS[section]:
                    parts[name] = [asdict(item) for item in getattr(self, name) or ()]
        return parts


_PARTS: Final[Mapping[Section, tuple[str, ...]]] = {
    Section.PROBLEMS: ("problems",),
    Section.TARGETS: ("drivers", "targets"),
    Section.SESSIONS: ("sessions",),
    Section.DEVICES: ("devices",),
    Section.GROUPS: ("device_groups",),
    Section.CLUSTER: ("cluster",),
}
