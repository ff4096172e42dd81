"""What the core gets from outside: event loop, threads, memory, state directory, and log.

All objects in the registry (``core.scst``) share one environment.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from scstfs.aio import Engine, open_engine
from scstfs.core.buffers import BufferPool
from scstfs.core.gated import Gated
from scstfs.core.statistics import Statistics
from scstfs.core.taskset import Activity
from scstfs.core.threads import Completions, WorkerPool
from scstfs.core.trace import TraceLog

if TYPE_CHECKING:
    from scstfs.core.runtime import Runtime
    from scstfs.persist.state import StateDirectory


#: Trace categories of the core, besides the common ones.
_TRACES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "retry": 0x80000000,
        "scsi_serializing": 0x40000000,
        "data_send": 0x20000000,
        "data_received": 0x1000000,
        "block": 0x10000,
    }
)

Executor: TypeAlias = Callable[[Any], Any]
"""Takes a ``core.command.Command`` and gives a ``core.device.Answer``; neither is known here."""


class Environment:
    """The surroundings of one SCST."""

    #: Record the time that commands spend in each phase.
    measure_latency: Gated[bool] = Gated(False)

    def __init__(
        self,
        runtime: Runtime,
        state: StateDirectory,
        start_command: Callable[[Any], None],
        cpus: int | None = None,
        io_engine: str = "",
    ) -> None:
        """``runtime`` is the event loop; ``state`` keeps persistent reservations and mode pages.

        ``start_command`` executes a command that had to wait (``execute.start``).  ``cpus`` is how
        many there are; None asks the system.  ``io_engine`` is one of ``scstfs.aio.ENGINES``, or
        empty for the best.
        """
        self.runtime = runtime
        self.state = state
        self.start_command = start_command
        self._io_engine = io_engine
        self.cpus = cpus or os.cpu_count() or 1
        self.default_threads = cpus or len(os.sched_getaffinity(0))
        self.completions = Completions(runtime.wake)
        self.threads = WorkerPool("scst", self.default_threads, self.completions)
        self.buffers = BufferPool("sgv")
        self.activity = Activity()
        self.statistics: Final = Statistics()
        self.trace: Final = TraceLog("scst", "", _TRACES)
        #: Executors of commands outside the core and the devices, and decoders of their parameter
        #: lists; by the opcode table's names.
        self.commands: dict[str, Executor] = {}
        self.descriptors: dict[str, Executor] = {}

    @property
    def opened_disks(self) -> Engine | None:
        """``disks``, if it was needed already."""
        return vars(self).get("disks")

    @functools.cached_property
    def disks(self) -> Engine:
        """What executes disk I/O; opened when it is first needed, in the event loop.

        Raises OSError where the system refuses the engine that was asked for.
        """
        engine = open_engine(self._io_engine, self.runtime.wake)
        engine.before, engine.after = self.completions.begin, self.completions.end
        self.runtime.start(engine.run)
        return engine
