"""Asynchronous disk I/O: many requests by one system call, their ends by one wake-up of the loop.

``Engine`` takes ``DiskRequest``s for the ``File``s that were opened with it and calls back when
they are done.  Nothing here waits for a disk, and no file waits for another one: each has *lanes*
of its own, queues for what it has to do, of which only so many requests are handed to the system.

Requests are executed by io_uring; where the system refuses that, direct reads and writes by the
kernel's AIO and the rest by threads.
"""

from __future__ import annotations

from scstfs.aio.engine import ENGINES, Engine, open_engine
from scstfs.aio.file import File
from scstfs.aio.request import DiskRequest, RequestKind

__all__ = ["ENGINES", "DiskRequest", "Engine", "File", "RequestKind", "open_engine"]
