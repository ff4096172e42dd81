"""Direct transfers (O_DIRECT) of data that is not where, or as long as, they want it.

They move whole blocks between the disk and memory that is aligned.  Commands have such memory
(``core.buffers``), but for those of programs in this process, and what initiators send may end
within a block: that goes through aligned memory here.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from scstfs.aio import DiskRequest, RequestKind

#: Bytes of aligned memory that a blocking transfer uses at a time.
MOST: Final = 1 << 20

#: What memory is aligned to where no device asks for more (bytes).
_ALIGNMENT: Final = 512

_scratch: Final = threading.local()


def scratch(length: int) -> memoryview:
    """Page-aligned memory of this thread, for up to MOST bytes and until the next call."""
    memory: memoryview | None = getattr(_scratch, "memory", None)
    if memory is None:
        memory = _scratch.memory = memoryview(mmap.mmap(-1, MOST))
    return memory[:length]


def whole_blocks(length: int, block_size: int) -> int:
    """``length``, up to the end of its last block (bytes)."""
    return -(-length // block_size) * block_size


def suits(request: DiskRequest, block_size: int) -> bool:
    """A READ or WRITE can be done directly as it is."""
    return not (request.address % _ALIGNMENT or request.length % block_size)


def submit(begin: Callable[[DiskRequest], None], request: DiskRequest, block_size: int) -> None:
    """Do a READ or WRITE by way of aligned memory; ``begin`` begins direct ones.

    Blocks of which ``request`` has only the beginning keep the rest.
    """
    user = request.memory
    assert user is not None, "it moves data"
    length = len(user)
    memory = memoryview(mmap.mmap(-1, whole_blocks(length, block_size)))
    if request.operation == RequestKind.READ:
        begin(
            DiskRequest(RequestKind.READ, request.offset, memory, partial(_read, request, memory))
        )
        return
    if length == len(memory):
        _write(begin, request, memory, 0)
        return
    # The initiator sent less than its CDB says; what it did not send stays.
    last = len(memory) - block_size
    done = partial(_write, begin, request, memory)
    begin(DiskRequest(RequestKind.READ, request.offset + last, memory[last:], done))


def _read(request: DiskRequest, memory: memoryview, error: int) -> None:
    user = request.memory
    if not error and user is not None:
        user[:] = memory[: len(user)]
    request.end(error)


def _write(
    begin: Callable[[DiskRequest], None], request: DiskRequest, memory: memoryview, error: int
) -> None:
    user = request.memory
    if error or user is None:
        request.end(error)
        return
    memory[: len(user)] = user
    whole = DiskRequest(RequestKind.WRITE, request.offset, memory, request.end)
    whole.flags = request.flags
    begin(whole)
