"""The worker threads of a device: its ``threads_num`` and ``threads_pool_type``."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

from scstfs.core.threads import WorkerPool

if TYPE_CHECKING:
    from scstfs.core.environment import Environment


class ThreadsPoolType(enum.Enum):
    """``threads_pool_type``: whether each session gets its own worker threads."""

    PER_INITIATOR = "per_initiator"
    SHARED = "shared"


class ItlNexus(Protocol):
    """An I_T_L nexus: what this module needs to assign worker threads."""

    pool: WorkerPool
    thread_index: int

    @property
    def cpu_mask(self) -> int:
        """The CPUs that its LUN set allows, a bit each."""


class DeviceThreads:
    """The worker threads of one device."""

    def __init__(self, name: str, env: Environment, nexuses: Sequence[ItlNexus]) -> None:
        """``name`` is the device's; ``nexuses`` are those that it has at any time, oldest first."""
        self._name = name
        self._env = env
        self._nexuses = nexuses
        self._shared: WorkerPool | None = None
        #: Threads per pool; 0 or less takes the global pool.
        self.number = 0
        self.pool_type = ThreadsPoolType.PER_INITIATOR

    def assign(self, nexus: ItlNexus) -> None:
        """Give a nexus worker threads."""
        nexus.pool = self._pool_for(nexus)
        older = takewhile(lambda other: other is not nexus, self._nexuses)
        nexus.thread_index = sum(1 for _ in older) if self.are_own(nexus) else -1

    def _pool_for(self, nexus: ItlNexus) -> WorkerPool:
        env = self._env
        if self.number <= 0:
            return env.threads
        if self.pool_type is ThreadsPoolType.PER_INITIATOR:
            cpus = [n for n in range(env.cpus) if nexus.cpu_mask >> n & 1]
            return WorkerPool(self._name, self.number, env.completions, cpus)
        if self._shared is None:
            self._shared = WorkerPool(self._name, self.number, env.completions)
        return self._shared

    def configure(self, number: int, pool_type: ThreadsPoolType) -> None:
        """Assign worker threads to every nexus again; the old ones finish their work."""
        old = {nexus.pool for nexus in self._nexuses}
        self.number, self.pool_type = number, pool_type
        self._shared = None
        for nexus in self._nexuses:
            self.assign(nexus)
        for pool in old - {self._env.threads}:
            pool.close()

    def are_own(self, nexus: ItlNexus) -> bool:
        """The worker threads of ``nexus`` are its own."""
        return nexus.pool not in (self._env.threads, self._shared)

    def release(self, nexus: ItlNexus) -> None:
        """End the threads of ``nexus``, which has ended."""
        if self.are_own(nexus):
            nexus.pool.close()

    def close(self) -> None:
        """The device is gone."""
        if self._shared is not None:
            self._shared.close()
