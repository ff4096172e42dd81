"""A small tree with one of everything, for tests of the mechanism.

devices/ with disks that mgmt adds and deletes, links both ways, numbered secrets, attributes that
block, fail, crash, or take any write. Only its form is SCST's.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import trio

from scstfs.observable import Observable, ObservableDict
from scstfs.sysfs.attr import Attr, optional_line, raw, spaced_line
from scstfs.sysfs.directory import DirType, Each, EachAttr, EachLink, Include, Link, Sub
from scstfs.sysfs.entry import itself
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.mgmt import MgmtWrite, parse
from scstfs.sysfs.node import Tree
from scstfs.sysfs.numbers import first_char_switch, in_range, kstrtol
from scstfs.sysfs.result import ManagementResult
from scstfs.sysfs.text import chomp


@dataclass(slots=True, eq=False)
class Device:
    """A disk; its exports are (target, LUN) pairs by export number."""

    name: str
    threads: int = 8
    read_only: int = 0
    comment: str = ""
    users: ObservableDict[str, str] = field(default_factory=ObservableDict)
    rows: Observable = field(default_factory=Observable)


@dataclass(slots=True, eq=False)
class Gate:
    """Blocks writers until it is opened."""

    waiting: int = 0
    event: trio.Event = field(default_factory=trio.Event)


@dataclass(slots=True, eq=False)
class Toy:
    """The root object."""

    result: ManagementResult = field(default_factory=ManagementResult)
    devices: ObservableDict[str, Device] = field(default_factory=ObservableDict)
    gates: dict[str, Gate] = field(default_factory=lambda: {"a": Gate(), "b": Gate()})
    writes: list[bytes] = field(default_factory=list)
    statistics: Callable[[], object] = list
    renders: int = 0

    def manage(self, command: MgmtWrite) -> None:
        """devices/mgmt."""
        action = command.select({"add": self._add, "del": self._delete, "fill": self._fill})
        action(command)

    def _add(self, command: MgmtWrite) -> None:
        name = command.arguments.required_word("Device name")
        if name in self.devices:
            raise SysfsError(errno.EEXIST, f"Device {name} already exists")
        device = Device(name)
        for parameter in command.arguments.parameters():
            if parameter.key != "threads":
                raise invalid(f"Unknown parameter {parameter.name}")
            device.threads = kstrtol(parameter.value().encode())
        self.devices[name] = device

    def _delete(self, command: MgmtWrite) -> None:
        name = command.arguments.required_word("Device name")
        command.arguments.expect_end()
        if self.devices.pop(name, None) is None:
            raise invalid(f"Device {name} not found")

    def _fill(self, command: MgmtWrite) -> None:
        count = in_range(kstrtol, 0, 10**5)(command.arguments.required_word("Count").encode())
        self.devices.update((f"d{n:05}", Device(f"d{n:05}")) for n in range(count))

    def render(self) -> str:
        """A text that differs at each read."""
        self.renders += 1
        return "".join(f"{self.renders:6} {line}\n" for line in range(200))

    def take(self, data: bytes) -> None:
        """Record a write."""
        self.writes.append(data)


async def wait_at(gate: Gate, _value: bytes) -> None:
    """A slow store."""
    gate.waiting += 1
    try:
        await gate.event.wait()
    finally:
        gate.waiting -= 1


def open_gate(gate: Gate, _value: bytes) -> None:
    """Release all waiting writers."""
    gate.event.set()
    gate.event = trio.Event()


def crash(_obj: object) -> str:
    """A bug in a show function."""
    return str(1 // 0)


def crash_store(_obj: object, _value: bytes) -> None:
    """A bug in a store function."""
    raise KeyError("store")


def set_threads(device: Device, value: int) -> None:
    """A store that refuses valid values."""
    if value > 100:
        raise SysfsError(errno.ENOMEM, "Too many threads")
    device.threads = value


def set_read_only(device: Device, value: int) -> None:
    """An ordinary store."""
    device.read_only = value
    device.rows.changed()


def set_comment(device: Device, value: str) -> None:
    """A store of text."""
    device.comment = value


WRITABLE_DEVICE: DirType[Device] = DirType(
    "writable device",
    (
        Attr(
            name="comment",
            mode=0o644,
            show=lambda device: device.comment,
            key=lambda device: bool(device.comment),
            render=optional_line,
            parse=chomp,
            store=set_comment,
        ),
    ),
)

DEVICE: DirType[Device] = DirType(
    "device",
    (
        Attr(name="type", mode=0o444, show=lambda device: "0 - disk"),
        Attr(
            name="threads_num",
            mode=0o644,
            show=lambda device: str(device.threads),
            key=lambda device: device.threads != 8,
            parse=in_range(kstrtol, 0),
            admit=lambda device, value: device.threads != value,
            store=set_threads,
            queued=True,
        ),
        Attr(
            name="read_only",
            mode=0o644,
            show=lambda device: str(device.read_only),
            key=lambda device: bool(device.read_only),
            parse=partial(first_char_switch, allowed="01"),
            store=set_read_only,
        ),
        Attr(name="no_store", mode=0o644, show=lambda device: "x"),
        Attr(name="sync", mode=0o200, parse=bytes, store=lambda device, value: None),
        Include(
            choose=lambda d: None if d.read_only else WRITABLE_DEVICE,
            among=(WRITABLE_DEVICE,),
            follows=lambda d: d.rows,
        ),
        EachAttr(
            children=lambda device: device.users,
            get=lambda device, name: device.users.get(name),
            attr=Attr(name="IncomingUser", mode=0o600, show=str, key=bool, render=spaced_line),
            label="IncomingUser",
        ),
        Link(name="group", target=lambda device: ("groups", f"all/{device.name}")),
    ),
    {"note": lambda device: f"about {device.name}"},
)

DEVICES: DirType[Toy] = DirType(
    "devices",
    (
        Attr(
            name="mgmt",
            mode=0o644,
            show=lambda toy: 'Usage: echo "add|del NAME" >mgmt\n',
            render=raw,
            parse=parse,
            store=Toy.manage,
            queued=True,
        ),
        Each(
            children=lambda toy: toy.devices,
            get=lambda toy, name: toy.devices.get(name),
            dirtype=DEVICE,
            label="DEVICE",
        ),
    ),
)

GATE: DirType[Gate] = DirType(
    "gate",
    (
        Attr(name="enter", mode=0o200, parse=bytes, store=wait_at, queued=True),
        Attr(name="open", mode=0o200, parse=bytes, store=open_gate),
        Attr(name="waiting", mode=0o444, show=lambda gate: str(gate.waiting)),
    ),
)

GROUPS: DirType[Toy] = DirType(
    "groups",
    (
        EachLink(
            children=lambda toy: (f"all/{name}" for name in toy.devices),
            follows=lambda toy: toy.devices,
            named=lambda name: f"all/{name}",
            target=lambda toy, name: (
                ("devices", name.removeprefix("all/"))
                if name.removeprefix("all/") in toy.devices
                else None
            ),
            label="DEVICE",
        ),
    ),
)

ROOT: DirType[Toy] = DirType(
    "root",
    (
        Attr(name="last_sysfs_mgmt_res", mode=0o444, show=lambda toy: toy.result.show()),
        Attr(name="renders", mode=0o444, show=Toy.render, render=raw),
        Attr(
            name="sink",
            mode=0o644,
            show=lambda toy: json.dumps([data.decode("latin-1") for data in toy.writes]),
            parse=bytes,
            store=Toy.take,
        ),
        Attr(name="crash", mode=0o444, show=crash),
        Attr(name="crash_store", mode=0o200, parse=bytes, store=crash_store),
        Attr(name="statistics", mode=0o444, show=lambda toy: json.dumps(toy.statistics())),
        Sub(name="devices", dirtype=DEVICES, of=itself),
        Sub(name="groups", dirtype=GROUPS, of=itself),
        Each(
            children=lambda toy: [f"gate_{name}" for name in toy.gates],
            get=lambda toy, name: toy.gates.get(name.removeprefix("gate_")),
            dirtype=GATE,
            label="gate_NAME",
        ),
        Link(name="outside", target=lambda toy: "../module/scst"),
        Link(name="absolute", target=lambda toy: "/proc/self"),
    ),
)


def build() -> tuple[Tree, Toy]:
    """A tree with two disks."""
    toy = Toy()
    toy.devices.update(disk1=Device("disk1"), disk2=Device("disk2", read_only=1))
    toy.devices["disk1"].users.update(IncomingUser="u1 secret", IncomingUser1="u2 secret")
    return Tree(ROOT, toy, toy.result), toy
