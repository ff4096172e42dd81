"""The root of everything: what ``/sys/kernel/scst_tgt`` itself shows, and what is below it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from scstfs.core import trace
from scstfs.core.buffers import BufferPool
from scstfs.core.gated import Gated
from scstfs.core.runtime import Runtime
from scstfs.core.taskset import Activity
from scstfs.core.threads import Completions, WorkerPool
from scstfs.core.trace import TraceLog
from scstfs.observable import ObservableDict

if TYPE_CHECKING:
    from scstfs.core.alua import DeviceGroup
    from scstfs.core.command import Command
    from scstfs.core.device import Answer, DevHandler, Device
    from scstfs.core.session import Session
    from scstfs.core.target import Target, TargetDriver
    from scstfs.persist.state import StateDirectory

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Somebody who has to do something about every device: the copy manager."""

    def device_appeared(self, device: Device) -> None:
        """``device`` was registered."""

    def device_changed(self, device: Device) -> None:
        """The identification of ``device`` changed."""

    def device_disappears(self, device: Device) -> None:
        """``device`` is being deleted; its LUNs are still there."""


class Scst:
    """One SCST: devices, handlers, target drivers, device groups and global settings.

    ``runtime`` is the event loop; ``state`` is where persistent reservations and mode pages are
    kept.
    """

    measure_latency: Gated[bool] = Gated(False)

    def __init__(
        self,
        runtime: Runtime,
        state: StateDirectory,
        start_command: Callable[[Command], None],
        cpus: int | None = None,
    ) -> None:
        """``start_command`` executes a command that had to wait (``execute.start``).

        ``cpus`` is how many there are; None asks the system.
        """
        self.runtime = runtime
        self.start_command = start_command
        self.completions = completions = Completions(runtime.wake)
        self.state = state
        self.cpus = cpus or os.cpu_count() or 1
        self.default_threads = cpus or len(os.sched_getaffinity(0))
        self.threads = WorkerPool("scst", self.default_threads, completions)
        self.buffers = BufferPool("sgv")
        self.activity = Activity()
        self.trace: Final = TraceLog("scst", "", trace.CORE)

        self.devices: ObservableDict[str, Device] = ObservableDict()
        self.handlers: dict[str, DevHandler] = {}
        self.drivers: dict[str, TargetDriver] = {}
        #: Commands that somebody besides the core and the devices executes, and what has to be
        #: understood of their parameter lists before anything else; by the opcode table's names.
        self.commands: dict[str, Callable[[Command], Answer]] = {}
        self.descriptors: dict[str, Callable[[Command], None]] = {}
        self.device_groups: ObservableDict[str, DeviceGroup] = ObservableDict()
        self._devices_of: dict[DevHandler, ObservableDict[str, Device]] = {}
        self.watchers: list[Watcher] = []
        #: Names of devices that are being made.
        self.reserved_names: set[str] = set()

        self.setup_id = 0
        self.cluster_name = ""
        self.force_global_sgv_pool = False
        self.max_tasklet_cmd = 10
        self.poll_us = 0
        self._next_rel_tgt_id = 1

    # Looking around

    def targets(self) -> Iterator[Target]:
        """Every target of every driver, in order of creation."""
        for driver in self.drivers.values():
            yield from driver.targets.values()

    def sessions(self) -> Iterator[Session]:
        """Every session of every target."""
        for target in self.targets():
            yield from target.sessions.values()

    def devices_of(self, handler: DevHandler) -> ObservableDict[str, Device]:
        """The devices that *handler* has, by name; kept by `core.devices`."""
        return self._devices_of.setdefault(handler, ObservableDict())

    def find_target(self, name: str) -> Target | None:
        """The first target called ``name``, whatever its driver."""
        return next((target for target in self.targets() if target.name == name), None)

    def device_changed(self, device: Device) -> None:
        """The identification of ``device`` changed."""
        for watcher in self.watchers:
            watcher.device_changed(device)

    # Relative target port identifiers

    def rel_tgt_id_is_free(self, rel_tgt_id: int, *, for_target: Target | None = None) -> bool:
        """No active target but ``for_target`` uses ``rel_tgt_id``."""
        return not any(
            target.rel_tgt_id == rel_tgt_id
            for target in self.targets()
            if target.is_active and target is not for_target
        )

    def next_rel_tgt_id(self) -> int:
        """The next automatic identifier: counts up, skips those in use, wraps after 65535.

        Raises OverflowError when all are in use.
        """
        for _ in range(0xFFFF):
            candidate = self._next_rel_tgt_id
            self._next_rel_tgt_id = candidate % 0xFFFF + 1
            if self.rel_tgt_id_is_free(candidate):
                return candidate
        raise OverflowError("no relative target port identifier is free")
