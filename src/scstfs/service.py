"""The target as a whole: core, handlers, drivers and the tree over them, put together."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from scstfs.aio import Engine
from scstfs.cluster.cluster_config import ClusterConfig
from scstfs.core import execute
from scstfs.core.device import DevHandler
from scstfs.core.environment import Environment
from scstfs.core.runtime import TrioRuntime
from scstfs.core.scst import Scst
from scstfs.drivers import copying
from scstfs.drivers.copy_manager import CopyManager
from scstfs.drivers.iscsi.config import IscsiDriver
from scstfs.drivers.iscsi.server import Server
from scstfs.drivers.scst_local import LocalDriver
from scstfs.errors import ExitStatus, UsageError, reason
from scstfs.fuse.operations import Operations
from scstfs.fuse.request_loop import RequestWait
from scstfs.handlers.passthrough import ScsiBus, pass_through_handlers
from scstfs.handlers.uevents import watch_scsi_devices
from scstfs.handlers.vdisk_handlers import vdisk_handlers
from scstfs.layout import LAYOUT
from scstfs.options import Config, IoEngine, Resume
from scstfs.persist.running import DamagedCommands, RunningFile
from scstfs.persist.state import StateDirectory
from scstfs.privileges import ROOT
from scstfs.startup.keep import Keeper
from scstfs.startup.load import load, look, resume
from scstfs.tree.measurements import note_change

log: Final = logging.getLogger(__name__)


def furnish(scst: Scst) -> CopyManager:
    """Register what there is without initiators: handlers, and what copies between devices."""
    handlers: list[DevHandler] = [*vdisk_handlers(), *pass_through_handlers()]
    for handler in handlers:
        scst.handlers[handler.name] = handler
    copy_manager = CopyManager(scst)
    copying.install(scst)
    return copy_manager


class TargetService:
    """What the daemon serves (``scstfs.daemon.Service``)."""

    def __init__(self, scst: Scst, owner: tuple[int, int] | None = None) -> None:
        """Register all handlers and drivers with ``scst``; the tree belongs to ``owner``."""
        self.scst = scst
        furnish(scst)
        self.iscsi = IscsiDriver(scst)
        self.server = Server(scst, self.iscsi)
        self.iscsi.live = self.server
        self.local = LocalDriver(scst)
        self.scsi_bus = ScsiBus(scst)
        self.tree = LAYOUT.build(scst)
        self.tree.observers.append(partial(note_change, scst.env.statistics))
        self.operations = Operations(self.tree, owner=owner)
        self._requests = RequestWait()
        self.server.flusher.urgent = self._requests.waiting

    async def answer_kernel(self) -> None:
        """Answer FUSE requests until the tree is unmounted."""
        await self.operations.answer(self._requests)

    async def run(self, listeners: Sequence[socket.socket]) -> None:
        """Serve initiators that connect to ``listeners``, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_scsi_devices, self.scsi_bus.rescan)
            await self.server.run(listeners)

    async def close(self) -> None:
        """Close all sessions in an orderly way."""
        await self.server.close()

    def suspend_logins(self) -> None:
        """Suspend logins (SIGUSR1)."""
        self.server.suspend_logins()

    def resume_logins(self) -> None:
        """Resume logins (SIGUSR2)."""
        self.server.resume_logins()


def _unusable(state_dir: Path, error: OSError) -> UsageError:
    inside = error.filename not in (None, str(state_dir))
    where = f"{state_dir}: {error.filename}" if inside else f"{state_dir}"
    message = f"cannot use the state directory {where}: {reason(error)}"
    return UsageError(ExitStatus.STATE_DIR, message)


def _open_disks(environment: Environment) -> Engine:
    """Now, so that the log says at its beginning what executes disk I/O."""
    try:
        return environment.disks
    except OSError as error:
        message = f"cannot do disk I/O as asked for: {reason(error)}"
        raise UsageError(ExitStatus.NOT_PERMITTED, message) from error


async def _configure(service: TargetService, config: Config) -> Keeper:
    """Apply the last running configuration, or a file, to the tree, and record changes from then
    on.
    """
    bare = look(service.tree)
    running = RunningFile(config.state_dir)
    try:
        resumes = config.resume is Resume.ALWAYS or (
            config.resume is Resume.AUTO and running.is_unclean
        )
        made = running.load() if resumes else None
        resumed = made is not None
        if made is not None:
            await resume(service.tree, made)
        elif config.config is not None:
            made = await load(service.tree, bare, config.config)
        keeper = Keeper(service.tree, bare, running)
        await keeper.start(made or [], resumed=resumed)
    except OSError as error:
        raise _unusable(config.state_dir, error) from error
    except DamagedCommands as error:
        message = f"cannot resume: {error}; --resume never starts without that file"
        raise UsageError(ExitStatus.RESUME, message) from error
    return keeper


async def _join_cluster(scst: Scst, config: ClusterConfig) -> Callable[[], Awaitable[None]]:
    """Know other nodes from now on; return what has to run."""
    try:
        # Nothing else needs the HTTP client.
        from scstfs.cluster.etcd import Etcd
        from scstfs.cluster.membership import Cluster
    except ImportError as error:
        message = f"--etcd needs a Python package that is missing: {error.name}"
        raise UsageError(ExitStatus.USAGE, message) from error
    try:
        # It reads files.
        etcd = await trio.to_thread.run_sync(Etcd, config.etcd, abandon_on_cancel=True)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = f"cannot use a file for etcd: {where}{reason(error)}"
        raise UsageError(ExitStatus.USAGE, message) from error
    return Cluster(scst, config, etcd).run


@contextlib.asynccontextmanager
async def target_service(config: Config) -> AsyncIterator[TargetService]:
    """A service that is configured, and whose state is kept below ``config.state_dir``.

    Raises UsageError if the directory cannot be used, or the configuration cannot be loaded.
    """
    state = StateDirectory(config.state_dir)
    try:
        state.prepare()
    except OSError as error:
        raise _unusable(config.state_dir, error) from error
    async with trio.open_nursery() as nursery:
        environment = Environment(
            TrioRuntime(nursery),
            state,
            execute.start,
            io_engine="" if config.io_engine is IoEngine.BEST else config.io_engine,
        )
        _open_disks(environment)
        owner = None if config.account is None else ROOT
        service = TargetService(Scst(environment), owner=owner)
        if config.cluster is not None:
            nursery.start_soon(await _join_cluster(service.scst, config.cluster))
        await service.scsi_bus.rescan()
        keeper = await _configure(service, config)
        nursery.start_soon(keeper.run)
        yield service
        await keeper.stop()
        nursery.cancel_scope.cancel()
