"""The memory of idle sessions: the daemon's memory with many of them, and after they have ended."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Final

from bench.clients import Point, own_load
from bench.crowd import isid
from bench.initiator import Session
from bench.options import Options
from bench.servers import Server, scstfs

SESSIONS: Final = 2000
#: Rounds of logins and logouts: the remaining memory must not grow with them.
ROUNDS: Final = 3
_MB: Final = 1e6
_WARM_UP: Final = Point("4 KiB random read, depth 32", False, 4096, 32, True)
_PAUSE: Final = 3.0  # seconds, for memory that is given back when the daemon is idle


def resident(pid: int) -> int:
    """Return a process's resident set (bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def come_and_go(server: Server) -> tuple[int, int, float, float]:
    """Log in SESSIONS sessions and log them out again.

    Return the bytes resident while they are idle and after, and the seconds that logins and logouts
    took.
    """
    sessions = []
    began = time.perf_counter()
    for number in range(SESSIONS):
        sessions.append(Session(server.address, server.target, server.lun, False, isid(number)))
    logins = time.perf_counter() - began
    time.sleep(_PAUSE)
    idle = resident(server.pid)
    began = time.perf_counter()
    for session in sessions:
        session.close()
    logouts = time.perf_counter() - began
    time.sleep(_PAUSE)
    return idle, resident(server.pid), logins, logouts


def run(file: Path, options: Options) -> None:
    """Print the memory of idle sessions, for each of several rounds."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with scstfs(file) as server:
        own_load(server, _WARM_UP, options.seconds)
        before = resident(server.pid)
        print(f"{SESSIONS} sessions; {before / _MB:.1f} MB resident before")
        for _ in range(ROUNDS):
            idle, after, logins, logouts = come_and_go(server)
            print(
                f"idle {idle / _MB:7.1f} MB ({(idle - before) / SESSIONS / 1e3:.1f} KB each), "
                f"after {after / _MB:.1f} MB ({(after - before) / _MB:+.1f}); "
                f"logins {SESSIONS / logins:.0f}/s, logouts {SESSIONS / logouts:.0f}/s",
                flush=True,
            )
