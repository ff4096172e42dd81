"""The clients that keep the targets busy: iscsi-perf of libiscsi, and our own `bench.load`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from bench.servers import BLOCK_SIZE, Server

_AVERAGE: Final = re.compile(r"iops average (\d+)")


@dataclass(frozen=True, slots=True)
class Point:
    """One point of measurement: commands of `size` bytes, `depth` of them at a time."""

    name: str
    write: bool
    size: int
    depth: int
    at_random: bool


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run gave.

    Attributes:
        rate: commands per second.
        busy: the part of the time in which the client itself used a CPU. Near 1 it is the client
            that was measured.
    """

    rate: float
    busy: float


def measure(server: Server, point: Point, seconds: float, digests: bool) -> Measurement:
    """Run `point` once, with the client that can do it."""
    if point.write or digests:
        return _own_load(server, point, seconds, digests)
    return _iscsi_perf(server, point, seconds)


def _iscsi_perf(server: Server, point: Point, seconds: float) -> Measurement:
    argv = ["iscsi-perf", "-b", str(point.size // BLOCK_SIZE), "-m", str(point.depth)]
    argv += ["-t", str(max(1, round(seconds)))]  # whole seconds only
    argv += ["-r"] if point.at_random else []
    started = time.monotonic()
    with subprocess.Popen([*argv, server.url], stdout=subprocess.PIPE, text=True) as process:
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    elapsed = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"iscsi-perf fails with {server.name}:\n{output}")
    return Measurement(last_average(output), (usage.ru_utime + usage.ru_stime) / elapsed)


def last_average(output: str) -> int:
    """Return the last average of iscsi-perf's output, which overwrites itself with \\r."""
    found = _AVERAGE.findall(output)
    if not found:
        raise SystemExit(f"iscsi-perf prints no average:\n{output}")
    return int(found[-1])


def _own_load(server: Server, point: Point, seconds: float, digests: bool) -> Measurement:
    host, port = server.address
    argv = [sys.executable, "-m", "bench.load", host, str(port), server.target, str(server.lun)]
    argv += ["--size", str(point.size), "--depth", str(point.depth), "--seconds", str(seconds)]
    argv += ["--write"] if point.write else []
    argv += ["--random"] if point.at_random else []
    argv += ["--digests"] if digests else []
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the load generator fails with {server.name}")
    result = json.loads(done.stdout)
    return Measurement(result["operations"] / result["seconds"], result["busy"])
