"""Whether many sessions share the target fairly: each has its own iscsi-perf, all at once."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
from pathlib import Path
from typing import Final

from bench.clients import Point, iscsi_perf, last_average
from bench.options import Options
from bench.servers import Server, running

SESSIONS: Final = 64
POINT: Final = Point("4 KiB random read, depth 4", False, 4096, 4, True)


def rates(server: Server, seconds: float) -> list[int]:
    """Return the commands per second of each session, slowest first."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(
                subprocess.Popen(
                    iscsi_perf(server, POINT, seconds), stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(SESSIONS)
        ]
        outputs = [client.communicate()[0] for client in clients]
    return sorted(last_average(output) for output in outputs)


def run(file: Path, options: Options) -> None:
    """Print how the sessions' rates compare, for both targets."""
    # All must run at the same time for most of the time.
    seconds = max(options.seconds, 5.0)
    with running(file, options.servers) as servers:
        print(
            f"{SESSIONS} sessions, {POINT.name} each{'':8}slowest/median  slowest  median  fastest"
        )
        for server in servers:
            found = rates(server, seconds)
            median = statistics.median(found)
            print(
                f"{server.name:46}{found[0] / median:14.2f}"
                f"{found[0]:9.0f}{median:8.0f}{found[-1]:9.0f}",
                flush=True,
            )
