"""Mounts a tree and serves it until SIGTERM: ``python -m tests.support.fuse_child FACTORY DIR``.

Prints READY when mounted and STATISTICS at the end; log records go to standard error.
"""

from __future__ import annotations

import importlib
import logging
import signal
import sys

import pyfuse3
import trio

from scstfs.fuse.operations import MOUNT_OPTIONS, Operations
from scstfs.fuse.request_loop import RequestWait
from scstfs.mountpoint import FUSE_SUBTYPE


async def serve(operations: Operations) -> None:
    """Serve the mount until a signal comes."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operations.answer, RequestWait())
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            print("READY", flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                return


def main(factory: str, mountpoint: str) -> None:
    """Build, mount, serve, unmount."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    module, _, function = factory.partition(":")
    tree, root = getattr(importlib.import_module(module), function)()
    operations = Operations(tree)
    if hasattr(root, "statistics"):
        root.statistics = operations.statistics
    pyfuse3.init(operations, mountpoint, {*MOUNT_OPTIONS, f"subtype={FUSE_SUBTYPE}"})
    try:
        trio.run(serve, operations)
    finally:
        pyfuse3.close()
        print("STATISTICS", operations.statistics(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
