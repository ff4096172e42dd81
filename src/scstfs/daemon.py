"""The daemon: its parts, the order of its start, and its orderly end.

`run` acquires what needs privileges, and gives these up (`scstfs.privileges`); a process beside
this one keeps those for the mount (`scstfs.mounter`). `serve` acquires the rest in order on one
exit stack, each with its own undo: the state directory, the pid file, the target itself
(`build_service`), the mount. Ordinary mistakes show before anything is mounted. SIGTERM, SIGINT and
SIGHUP close the sessions and unmount, always within `STOP_SECONDS`; after a second signal it does
not wait for sessions.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVarTuple, Unpack

import pyfuse3
import trio

from scstfs import metrics, mountpoint, portals, privileges, system
from scstfs import mounter as mounters
from scstfs.errors import UsageError
from scstfs.fuse.operations import MOUNT_OPTIONS
from scstfs.mounter import Mounter
from scstfs.mounting import Orders
from scstfs.notify import Notifier
from scstfs.options import Config
from scstfs.service import target_service
from scstfs.signals import SignalWatch

log: Final = logging.getLogger(__name__)

STOP_SECONDS: Final = 4.5
"""After a stop signal the tree is unmounted and the process gone within this time."""

# The part of these in which initiators may log out.
_CLOSE_SECONDS: Final = 3.0


class Service(Protocol):
    """The target as the daemon sees it: a tree to mount and sessions to serve."""

    @property
    def operations(self) -> pyfuse3.Operations:
        """Answers the kernel's FUSE requests."""

    async def answer_kernel(self) -> None:
        """Answer FUSE requests until the tree is unmounted or `pyfuse3.terminate` is called."""

    async def run(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections and serve them, until cancelled."""

    async def close(self) -> None:
        """Close all sessions in an orderly way; cancelled if it takes too long."""

    def suspend_logins(self) -> None:
        """Refuse new logins (SIGUSR1)."""

    def resume_logins(self) -> None:
        """Accept logins again (SIGUSR2)."""


Build: TypeAlias = Callable[[Config], contextlib.AbstractAsyncContextManager[Service]]
Announce: TypeAlias = Callable[[str], None]
Ts = TypeVarTuple("Ts")


def run(config: Config, announce: Announce, build: Build | None = None) -> None:
    """Serve until a signal, then return.

    Args:
        config: the options of the command line.
        announce: called with one line when everything is up.
        build: makes the target; leaving its context releases what the target holds.

    Raises:
        UsageError: an ordinary mistake; nothing is left behind.
    """
    with contextlib.ExitStack() as stack:
        if config.mounter is None:
            system.check_privileges(config.mountpoint, config.account)
        mountpoint.check(config.mountpoint)
        mounter = stack.enter_context(_mounter(config))
        system.take_name()
        system.raise_file_limit()
        if config.account is not None:
            privileges.hand_over(config.state_dir, config.account)
        sockets = stack.enter_context(portals.listening(config.portals))
        metrics_socket = stack.enter_context(metrics.listening(config.metrics))
        _drop_privileges(config)
        watch = stack.enter_context(SignalWatch(STOP_SECONDS))
        parts = _Parts(watch, mounter, sockets, metrics_socket, announce)
        try:
            trio.run(serve, config, parts, build or build_service)
        except BaseExceptionGroup as group:
            mistakes, bugs = group.split(UsageError)
            if mistakes is None or bugs is not None:
                raise
            raise _first(mistakes) from group


def _first(group: BaseExceptionGroup[UsageError]) -> UsageError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _mounter(config: Config) -> contextlib.AbstractContextManager[Mounter]:
    if config.mounter is not None:
        return mounters.connected(config.mounter)
    return mounters.forked(Orders(config.mountpoint, config.pid_file, MOUNT_OPTIONS))


def _drop_privileges(config: Config) -> None:
    kept = config.kept
    if kept is None:
        kept = privileges.kept_by_default(config.account)
    privileges.drop(config.account, kept)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What was acquired with privileges, or before there is an event loop.

    Attributes:
        watch: entered; its `last_resort` is set to unmount.
        mounter: mounts and unmounts the tree.
        sockets: listen on the portals.
        metrics_socket: listens for readers of metrics.
        announce: called with one line when everything is up.
    """

    watch: SignalWatch
    mounter: Mounter
    sockets: list[socket.socket]
    metrics_socket: socket.socket | None
    announce: Announce


async def serve(config: Config, parts: _Parts, build: Build) -> None:
    """Bring everything up, serve until told to stop, and take everything down again.

    Args:
        config: the options of the command line.
        parts: what there is already.
        build: makes the target.
    """
    watch, mounter, sockets = parts.watch, parts.mounter, parts.sockets
    watch.connect()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(system.state_directory(config.state_dir))
        mounter.claim()
        service = await stack.enter_async_context(build(config))
        path, descriptor = mounter.attach()
        stack.callback(mounter.detach)
        watch.last_resort = mounter.detach
        # For libfuse, such a mount point is an open descriptor of what is mounted already.
        pyfuse3.init(service.operations, f"/dev/fd/{descriptor}")
        stack.callback(pyfuse3.close, unmount=False)
        watch.on_user_signal(signal.SIGUSR1, service.suspend_logins)
        watch.on_user_signal(signal.SIGUSR2, service.resume_logins)

        notifier = Notifier.from_environment()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_vital, watch, _answer_kernel, service, path, watch)
            nursery.start_soon(_vital, watch, service.run, sockets)
            ready = f"{path} on {' '.join(map(portals.name, sockets))}"
            parts.announce(f"ready: {ready}")
            notifier.ready(f"serving {ready}")
            if parts.metrics_socket is not None:
                nursery.start_soon(metrics.serve, parts.metrics_socket, path)
            await watch.stop.wait()
            notifier.stopping()
            await _close_sessions(service, watch)
            mounter.detach()
            pyfuse3.terminate()
            nursery.cancel_scope.cancel()


async def _vital(
    watch: SignalWatch, task: Callable[[Unpack[Ts]], Awaitable[None]], *arguments: *Ts
) -> None:
    """Run a task whose failure is the daemon's: then too the end must not take for ever."""
    try:
        await task(*arguments)
    except Exception as error:
        watch.failed(error)
        raise


async def _answer_kernel(service: Service, path: str, watch: SignalWatch) -> None:
    """Answer FUSE requests; an umount(8) by another program is a request to stop."""
    await service.answer_kernel()
    if not watch.stop.is_set():
        log.warning("%s was unmounted: stopping", path)
        watch.stop.set()


async def _close_sessions(service: Service, watch: SignalWatch) -> None:
    """Let the service close its sessions, for a limited time."""
    with trio.move_on_after(_CLOSE_SECONDS) as scope:
        async with trio.open_nursery() as nursery:

            async def cancel_at_second_signal() -> None:
                await watch.at_once.wait()
                scope.cancel()

            nursery.start_soon(cancel_at_second_signal)
            await service.close()
            nursery.cancel_scope.cancel()
    if scope.cancelled_caught:
        log.warning("not all sessions could be closed in good order")


def build_service(config: Config) -> contextlib.AbstractAsyncContextManager[Service]:
    """Put the target together; leaving the context releases what it holds."""
    return target_service(config)
