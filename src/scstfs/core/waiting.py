"""Waiting for running commands, always with a bound.

A management command changes the configuration first and waits afterwards, or holds a device still
during a change. It never waits for ever: an initiator whose commands do not end delays it by
SECONDS at most.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from scstfs.core import access
from scstfs.core.errors import StillBusy

if TYPE_CHECKING:
    from scstfs.core.device import Device
    from scstfs.core.session import TgtDev

#: How long SCST's management waits for commands to end.
SECONDS: Final = 90.0


async def settled(register: Callable[[Callable[[], None]], None], seconds: float = SECONDS) -> bool:
    """Wait until the function given to ``register`` is called; False if that takes too long."""
    done = trio.Event()
    register(done.set)
    if not done.is_set():
        with trio.move_on_after(seconds):
            await done.wait()
    return done.is_set()


async def retired(tgt_devs: Iterable[TgtDev]) -> None:
    """Wait for the last commands of nexuses that have ended already."""
    gone = list(tgt_devs)
    await settled(lambda call: access.when_retired(gone, call))


@asynccontextmanager
async def quiet(device: Device) -> AsyncIterator[None]:
    """Keep the commands of ``device`` waiting; inside, none runs.

    Raises StillBusy if those that run do not end in time.
    """
    with device.tasks.frozen():
        if not await settled(device.tasks.when_idle):
            raise StillBusy(f"Commands of device {device.name} do not end")
        yield
