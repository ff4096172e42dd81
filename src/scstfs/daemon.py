"""The daemon: its parts, the order of its start, and its orderly end.

`serve` acquires its resources in order on one exit stack, each with its own undo: the state
directory, the portals, the pid file, the target itself (`build_service`), the mount. Ordinary
mistakes show before anything is mounted. SIGTERM, SIGINT and SIGHUP close the sessions and unmount,
always within `STOP_SECONDS`; after a second signal it does not wait for sessions.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import Final, Protocol, TypeAlias, TypeVarTuple, Unpack

import pyfuse3
import trio

from scstfs import metrics, mountpoint, portals, system
from scstfs.errors import ExitStatus, UsageError
from scstfs.mountpoint import MountPoint
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

    @property
    def mount_options(self) -> Set[str]:
        """FUSE mount options (mount.fuse3(8)); the daemon adds the subtype."""

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
    with SignalWatch(STOP_SECONDS) as watch:
        try:
            trio.run(serve, config, watch, announce, build or build_service)
        except BaseExceptionGroup as group:
            mistakes, bugs = group.split(UsageError)
            if mistakes is None or bugs is not None:
                raise
            raise _first(mistakes) from group


def _first(group: BaseExceptionGroup[UsageError]) -> UsageError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def serve(config: Config, watch: SignalWatch, announce: Announce, build: Build) -> None:
    """Bring everything up, serve until told to stop, and take everything down again.

    Args:
        config: the options of the command line.
        watch: an entered watch; its `last_resort` is set to unmount.
        announce: called with one line when everything is up.
        build: makes the target.
    """
    watch.connect()
    async with contextlib.AsyncExitStack() as stack:
        system.check_privileges(config.mountpoint)
        mountpoint.check(config.mountpoint)
        system.take_name()
        system.raise_file_limit()
        stack.enter_context(system.state_directory(config.state_dir))
        sockets = stack.enter_context(portals.listening(config.portals))
        metrics_socket = stack.enter_context(metrics.listening(config.metrics))
        if config.pid_file is not None:
            stack.enter_context(system.pid_file(config.pid_file))
        service = await stack.enter_async_context(build(config))
        mount = mountpoint.attach(config.mountpoint, lambda path: _mount(path, service))
        stack.callback(pyfuse3.close, unmount=False)
        stack.callback(mount.detach)
        watch.last_resort = mount.detach
        watch.on_user_signal(signal.SIGUSR1, service.suspend_logins)
        watch.on_user_signal(signal.SIGUSR2, service.resume_logins)

        notifier = Notifier.from_environment()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_vital, watch, _answer_kernel, service, mount, watch)
            nursery.start_soon(_vital, watch, service.run, sockets)
            ready = f"{mount.path} on {' '.join(map(portals.name, sockets))}"
            announce(f"ready: {ready}")
            notifier.ready(f"serving {ready}")
            if metrics_socket is not None:
                nursery.start_soon(metrics.serve, metrics_socket, mount.path)
            await watch.stop.wait()
            notifier.stopping()
            await _close_sessions(service, watch)
            mount.detach()
            pyfuse3.terminate()
            nursery.cancel_scope.cancel()


def _mount(path: str, service: Service) -> None:
    """Mount the service's tree on the directory `path`, by libfuse."""
    options = {*service.mount_options, f"subtype={mountpoint.FUSE_SUBTYPE}"}
    if os.geteuid() != 0:
        options.discard("allow_other")  # fusermount3(1) refuses it, unless fuse.conf says otherwise
    with system.captured_stderr() as printed:
        try:
            pyfuse3.init(service.operations, path, options)
        except RuntimeError as error:
            failure = error
        else:
            return
    why = printed[0] if printed else str(failure)
    raise UsageError(ExitStatus.NOT_PERMITTED, f"cannot mount on {path}: {why}") from failure


async def _vital(
    watch: SignalWatch, task: Callable[[Unpack[Ts]], Awaitable[None]], *arguments: *Ts
) -> None:
    """Run a task whose failure is the daemon's: then too the end must not take for ever."""
    try:
        await task(*arguments)
    except Exception as error:
        watch.failed(error)
        raise


async def _answer_kernel(service: Service, mount: MountPoint, watch: SignalWatch) -> None:
    """Answer FUSE requests; an umount(8) by another program is a request to stop."""
    await service.answer_kernel()
    if not watch.stop.is_set():
        log.warning("%s was unmounted: stopping", mount.path)
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
