"""Disks that are not memory: block devices, cold files, direct I/O, a mix, many sessions.

Every target is measured in turn in every round, each over the same file or device, with the same
client.  CPU is what the target's process uses for each command, user and system together: the
noise of a busy machine hardly touches it.  LIMIT is what fio does with the same device or file
without any target in between.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from bench import servers
from bench.clients import Measurement, Point, crowd_load, own_load
from bench.options import Options
from bench.servers import Server, Start

_KIB: Final = 1024
_MIB: Final = 1 << 20
_DEVICE_BYTES: Final = 512 * _MIB

RANDOM: Final = (
    Point("4 KiB random read, depth 1", False, 4 * _KIB, 1, True),
    Point("4 KiB random read, depth 32", False, 4 * _KIB, 32, True),
)
RANDOM_WRITES: Final = (
    Point("4 KiB random write, depth 1", True, 4 * _KIB, 1, True),
    Point("4 KiB random write, depth 32", True, 4 * _KIB, 32, True),
)
LARGE: Final = (
    Point("64 KiB random read, depth 8", False, 64 * _KIB, 8, True),
    Point("256 KiB sequential read, depth 8", False, 256 * _KIB, 8, False),
)
LARGE_WRITES: Final = (
    Point("64 KiB random write, depth 8", True, 64 * _KIB, 8, True),
    Point("256 KiB sequential write, depth 8", True, 256 * _KIB, 8, False),
)
SESSIONS: Final = (
    Point("4 KiB random read, 8 sessions", False, 4 * _KIB, 4, True, sessions=8),
    Point("4 KiB random read, 64 sessions", False, 4 * _KIB, 4, True, sessions=64),
)
#: For curves.
DEPTHS: Final = tuple(
    Point(f"4 KiB random {kind}, depth {depth}", kind == "write", 4 * _KIB, depth, True)
    for kind in ("read", "write")
    for depth in (1, 2, 4, 8, 16, 32, 64)
)
MIXED: Final = Point("4 KiB, 70 % reads, depth 32", False, 4 * _KIB, 32, True, mixed=True)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is exported, how, and what is done with it."""

    name: str
    starts: dict[str, Start]
    points: tuple[Point, ...]
    #: Gives the path of what is exported, given the file of the benchmark.
    backing: Callable[[Path], contextlib.AbstractContextManager[Path]]
    #: What has to be in the page cache when a measurement begins, and what not.
    prepare: Callable[[Path], None] = lambda path: None
    #: fio is to bypass the page cache, too.
    direct: bool = True


@dataclass(frozen=True, slots=True)
class Figure:
    """What a target did at a point: medians of all rounds."""

    scenario: str
    point: str
    target: str
    #: Commands a second, lowest and highest round.
    rate: float
    lowest: float
    highest: float
    #: CPU time of the target for one command (seconds).
    cpu: float
    #: Seconds that a command took, where one at a time was outstanding.
    median: float
    #: The part of the time in which the client was busy itself.
    busy: float
    #: What the slowest of many sessions got, as a part of the median.
    fairness: float
    #: Commands under way at the same time, in all.
    depth: int


@contextlib.contextmanager
def _loop_device(_file: Path) -> Iterator[Path]:
    """A loop device over memory: as fast as a block device can be here."""
    with tempfile.TemporaryDirectory(prefix="scstfs-bench.", dir="/dev/shm") as directory:
        image = Path(directory, "image")
        with image.open("wb") as opened:
            for _ in range(_DEVICE_BYTES // _MIB):
                opened.write(os.urandom(_MIB))
        argv = ["losetup", "--find", "--show", str(image)]
        device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        try:
            yield Path(device)
        finally:
            subprocess.run(["losetup", "--detach", device], check=False)


@contextlib.contextmanager
def _itself(file: Path) -> Iterator[Path]:
    yield file


def _forget(path: Path) -> None:
    """Drop from the page cache what is in it of a file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def _remember_half(path: Path) -> None:
    """Have every other MiB of a file in the page cache: it is twice the size of what is cached."""
    _forget(path)
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for offset in range(0, path.stat().st_size, 2 * _MIB):
            file.seek(offset)
            file.read(_MIB)


_DIRECT: Final = partial(servers.scstfs, parameters="o_direct=1; async=1;")
_TGT_AIO: Final = partial(servers.tgt, backing="aio")

SCENARIOS: Final = (
    Scenario(
        "vdisk_fileio in memory",
        {"scstfs": servers.scstfs, "bare C": servers.bare, "tgt rdwr": servers.tgt},
        RANDOM + RANDOM_WRITES + (MIXED,) + LARGE + LARGE_WRITES + SESSIONS,
        _itself,
        direct=False,
    ),
    Scenario(
        "vdisk_blockio on a loop device",
        {"scstfs": servers.scstfs, "tgt aio": _TGT_AIO, "tgt rdwr": servers.tgt},
        RANDOM + RANDOM_WRITES + (MIXED,) + LARGE + LARGE_WRITES + SESSIONS,
        _loop_device,
    ),
    Scenario(
        "vdisk_fileio, cold",
        {"scstfs": servers.scstfs, "tgt rdwr": servers.tgt},
        RANDOM + LARGE,
        _itself,
        prepare=_forget,
    ),
    Scenario(
        "vdisk_fileio, half of it cached",
        {"scstfs": servers.scstfs, "tgt rdwr": servers.tgt},
        (*RANDOM, MIXED, *LARGE),
        _itself,
        prepare=_remember_half,
    ),
    Scenario(
        "vdisk_fileio with o_direct",
        {"scstfs": _DIRECT, "tgt aio": _TGT_AIO},
        RANDOM + RANDOM_WRITES + LARGE,
        _itself,
    ),
    Scenario(
        "curves of vdisk_blockio",
        {"scstfs": servers.scstfs, "tgt aio": _TGT_AIO, "tgt rdwr": servers.tgt},
        DEPTHS,
        _loop_device,
    ),
)


def _measure(
    scenario: Scenario, running: dict[str, Server], path: Path, point: Point, options: Options
) -> list[Figure]:
    found: dict[str, list[tuple[float, Measurement]]] = {name: [] for name in running}
    load = own_load if point.sessions == 1 else crowd_load
    for number in range(options.rounds):
        names = list(running)
        for name in names if number % 2 == 0 else reversed(names):
            server = running[name]
            scenario.prepare(path)
            before = server.cpu_seconds()
            measured = load(server, point, options.seconds)
            cpu = (server.cpu_seconds() - before) / (measured.rate * options.seconds)
            found[name].append((cpu, measured))
    figures = []
    for name, rounds in found.items():
        cpus, measurements = zip(*rounds, strict=True)
        rates = [measured.rate for measured in measurements]
        figures.append(
            Figure(
                scenario.name,
                point.name,
                name,
                statistics.median(rates),
                min(rates),
                max(rates),
                statistics.median(cpus),
                statistics.median(measured.median for measured in measurements),
                max(measured.busy for measured in measurements),
                statistics.median(measured.fairness for measured in measurements),
                point.depth * point.sessions,
            )
        )
    return figures


def fio(path: Path, point: Point, seconds: float, *, direct: bool) -> float | None:
    """What fio does without a target, commands a second; None where it is not installed."""
    if shutil.which("fio") is None:
        return None
    kind = "rw" if point.mixed else "write" if point.write else "read"
    argv = ["fio", "--name=limit", f"--filename={path}", f"--rw={'rand' * point.at_random}{kind}"]
    argv += ["--rwmixread=70"] if point.mixed else []
    depth = point.depth * point.sessions
    argv += [f"--bs={point.size}", f"--iodepth={depth}", "--ioengine=libaio"]
    argv += [f"--direct={int(direct)}", f"--runtime={seconds}", "--time_based"]
    argv += ["--output-format=json"]
    output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    (job,) = json.loads(output)["jobs"]
    return float(job["read"]["iops"] + job["write"]["iops"])


def _limit(like: Figure, rate: float) -> Figure:
    """The figure of what fio did."""
    return replace(
        like, target="fio", rate=rate, lowest=rate, highest=rate, cpu=0.0, median=0.0, busy=0.0,
        fairness=1.0,
    )  # fmt: skip


def _print(figures: list[Figure], limit: float | None) -> None:
    ours = figures[0]
    text = f"{ours.point:34}"
    for figure in figures:
        text += f"{figure.rate:9.0f}{figure.cpu * 1e6:8.1f}"
        if figure is not ours:
            text += f"{ours.rate / figure.rate:7.2f}"
    text += "" if limit is None else f"{limit:10.0f}"
    if "sessions" in ours.point:
        parts = ", ".join(f"{figure.target} {figure.fairness:.2f}" for figure in figures)
        text += f"  slowest/median: {parts}"
    print(text, flush=True)


def run(file: Path, options: Options) -> None:
    """Print a table for each scenario; as JSON, too, where that is asked for."""
    everything: list[Figure] = []
    for scenario in SCENARIOS:
        points = [point for point in scenario.points if options.only in point.name]
        if options.scenario not in scenario.name or not points:
            continue
        print(f"\n{scenario.name}\n{'':34}", end="")
        for name in scenario.starts:
            print(f"{name + ' /s':>9}{'CPU us':>8}", end="" if name == "scstfs" else "  RATIO")
        print(f"{'LIMIT':>10}")
        with scenario.backing(file) as path, contextlib.ExitStack() as stack:
            running = {
                name: stack.enter_context(start(path)) for name, start in scenario.starts.items()
            }
            for point in points:
                everything += _compare(scenario, running, path, point, options)
                if options.json is not None:
                    found = [asdict(figure) for figure in everything]
                    options.json.write_text(json.dumps(found, indent=1))


def _compare(
    scenario: Scenario, running: dict[str, Server], path: Path, point: Point, options: Options
) -> list[Figure]:
    """Measure a point, with all targets and without any, and print it."""
    figures = _measure(scenario, running, path, point, options)
    scenario.prepare(path)
    limit = fio(path, point, options.seconds, direct=scenario.direct)
    _print(figures, limit)
    return figures if limit is None else [*figures, _limit(figures[0], limit)]
