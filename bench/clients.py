"""The load generators: libiscsi's iscsi-perf, qemu-img bench, and our own `bench.load`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from bench.crowd import CrowdResult
from bench.servers import BLOCK_SIZE, Server

_AVERAGE: Final = re.compile(r"iops average (\d+)")
_COMPLETED: Final = re.compile(r"Run completed in ([0-9.]+) seconds")
_FEW: Final = 500  # commands that are enough to estimate a rate


@dataclass(frozen=True, slots=True)
class Point:
    """One point of measurement: commands of `size` bytes, `depth` of them at a time."""

    name: str
    write: bool
    size: int
    depth: int
    at_random: bool
    #: 70 % of the commands read, whatever ``write`` says.
    mixed: bool = False
    #: Each with `depth` commands at a time.
    sessions: int = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of one run.

    Attributes:
        rate: commands per second.
        busy: the part of the time in which the client itself used a CPU. Near 1 it is the client
            that was measured.
        median: seconds that a command took (0 where the client does not tell).
        slowest: seconds within which 99 of 100 commands were answered (likewise).
        fairness: the rate of the slowest session as a part of the median.
    """

    rate: float
    busy: float
    median: float = 0.0
    slowest: float = 0.0
    fairness: float = 1.0


def measure(server: Server, point: Point, seconds: float, digests: bool) -> Measurement:
    """Run `point` once, with another project's initiator if one supports it."""
    if digests or (point.write and point.at_random):
        return own_load(server, point, seconds, digests=digests)
    return (_qemu_img if point.write else _iscsi_perf)(server, point, seconds)


def iscsi_perf(server: Server, point: Point, seconds: float) -> list[str]:
    """Return the command line of iscsi-perf for `point`, in whole seconds."""
    argv = ["iscsi-perf", "-b", str(point.size // BLOCK_SIZE), "-m", str(point.depth)]
    argv += ["-t", str(max(1, round(seconds)))]
    argv += ["-r"] if point.at_random else []
    return [*argv, server.url]


def _iscsi_perf(server: Server, point: Point, seconds: float) -> Measurement:
    output, busy = _run(iscsi_perf(server, point, seconds), server)
    return Measurement(last_average(output), busy)


def _qemu_img(server: Server, point: Point, seconds: float) -> Measurement:
    """Write sequentially by `qemu-img bench`, which needs the amount of data."""

    def bench(count: int) -> Measurement:
        argv = ["qemu-img", "bench", "-f", "raw", "-t", "writeback", "-w", "-d", str(point.depth)]
        argv += ["-s", str(point.size), "-c", str(count), server.url]
        output, busy = _run(argv, server)
        return Measurement(count / bench_seconds(output), busy)

    return bench(max(1, round(bench(_FEW).rate * seconds)))


def _run(argv: list[str], server: Server) -> tuple[str, float]:
    """Run a client; return its output, and the part of the time in which it used a CPU."""
    started = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    elapsed = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{argv[0]} fails with {server.name}:\n{output}")
    return output, (usage.ru_utime + usage.ru_stime) / elapsed


def bench_seconds(output: str) -> float:
    """Return the time that `qemu-img bench` reports."""
    found = _COMPLETED.search(output)
    if found is None:
        raise SystemExit(f"qemu-img bench does not say how long it took:\n{output}")
    return float(found[1])


def last_average(output: str) -> int:
    """Return the last average of iscsi-perf's output, which overwrites itself with \\r."""
    found = _AVERAGE.findall(output)
    if not found:
        raise SystemExit(f"iscsi-perf prints no average:\n{output}")
    return int(found[-1])


def load_command(
    server: Server, point: Point, seconds: float, *, digests: bool = False
) -> list[str]:
    """Return the command line of `bench.load` for `point`."""
    host, port = server.address
    argv = [sys.executable, "-m", "bench.load", host, str(port), server.target, str(server.lun)]
    argv += ["--size", str(point.size), "--depth", str(point.depth), "--seconds", str(seconds)]
    argv += ["--write"] if point.write else []
    argv += ["--random"] if point.at_random else []
    argv += ["--mixed"] if point.mixed else []
    argv += ["--digests"] if digests else []
    return argv


def own_load(server: Server, point: Point, seconds: float, *, digests: bool = False) -> Measurement:
    """Run `point` once with `bench.load`."""
    argv = load_command(server, point, seconds, digests=digests)
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the load generator fails with {server.name}")
    result = json.loads(done.stdout)
    rate = result["operations"] / result["seconds"]
    return Measurement(rate, result["busy"], result["median"], result["slowest"])


def crowd_load(server: Server, point: Point, seconds: float) -> Measurement:
    """Run `point` once with many sessions (`bench.crowd`)."""
    host, port = server.address
    argv = [sys.executable, "-m", "bench.crowd", host, str(port), server.target, str(server.lun)]
    argv += ["--sessions", str(point.sessions), "--size", str(point.size)]
    argv += ["--depth", str(point.depth), "--seconds", str(seconds)]
    argv += ["--write"] if point.write else []
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the load generator fails with {server.name}")
    result = CrowdResult(**json.loads(done.stdout))
    return Measurement(sum(result.rates), result.busy, fairness=result.fairness)
