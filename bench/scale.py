"""A large configuration, built with plain echo: its speed, and the cost of reading it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import stat
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from bench.clients import Point, load_command, own_load
from bench.options import Options
from bench.servers import Server, daemon

DEVICES: Final = 2000
TARGETS: Final = 100
LUNS: Final = DEVICES // TARGETS
_THOUSAND: Final = 1000
_TARGET: Final = "iqn.2007-05.com.example:scale{}"
POINT: Final = Point("4 KiB random read, depth 32", False, 4096, 32, True)
_READS: Final = 200
_PAGE: Final = 4096
_LONGEST: Final = 3600  # seconds; the load is ended before that


def device_commands() -> Iterator[str]:
    """Yield the shell commands that make the devices; they do not need files."""
    for number in range(DEVICES):
        command = f"add_device d{number} size_mb=1024; blocksize=4096"
        yield f'echo "{command}" >handlers/vdisk_nullio/mgmt'


def target_commands() -> Iterator[str]:
    """Yield the shell commands that make the targets."""
    for number in range(TARGETS):
        yield f'echo "add_target {_TARGET.format(number)}" >targets/iscsi/mgmt'


def lun_commands() -> Iterator[str]:
    """Yield the shell commands that give each target its LUNs."""
    for number in range(DEVICES):
        directory = f"targets/iscsi/{_TARGET.format(number // LUNS)}/luns"
        yield f'echo "add d{number} {number % LUNS}" >{directory}/mgmt'


def enable_commands() -> Iterator[str]:
    """Yield the shell commands after which initiators can log in."""
    for number in range(TARGETS):
        yield f"echo 1 >targets/iscsi/{_TARGET.format(number)}/enabled"
    yield "echo 1 >targets/iscsi/enabled"


def shell(tree: Path, commands: Iterable[str]) -> float:
    """Run shell commands in the tree; return how long they took (seconds)."""
    script = "set -e\n" + "\n".join(commands)
    began = time.perf_counter()
    subprocess.run(["sh", "-s"], input=script, text=True, cwd=tree, check=True)
    return time.perf_counter() - began


def build(tree: Path) -> None:
    """Build the configuration, and print the time of each thousand commands."""
    for what, commands in (("devices", list(device_commands())), ("LUNs", list(lun_commands()))):
        if what == "LUNs":
            shell(tree, target_commands())
        times = [
            shell(tree, commands[start : start + _THOUSAND])
            for start in range(0, len(commands), _THOUSAND)
        ]
        shown = " ".join(f"{seconds:.2f}" for seconds in times)
        print(f"{what:10} seconds per thousand: {shown}   last/first {times[-1] / times[0]:.2f}")
    shell(tree, enable_commands())


def median_time(action: list[str], tree: Path, times: int) -> float:
    """Return the median time (milliseconds) a command takes."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(action, cwd=tree, stdout=subprocess.DEVNULL, check=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def read_everything(tree: Path) -> tuple[int, float]:
    """Read every readable file as cp -r does; return how many there are, and the time (seconds)."""
    began, files = time.perf_counter(), 0
    for _, _, names, directory in os.fwalk(tree):
        for name in names:
            mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            if stat.S_ISREG(mode) and mode & 0o444:
                file = os.open(name, os.O_RDONLY, dir_fd=directory)
                while os.read(file, _PAGE):
                    pass
                os.close(file)
                files += 1
    return files, time.perf_counter() - began


def _report(tree: Path) -> None:
    cat = median_time(["cat", "devices/d1000/type"], tree, _READS)
    ls = median_time(["ls", "devices"], tree, _READS // 10)
    files, seconds = read_everything(tree)
    print(
        f"cat of an attribute {cat:.1f} ms, ls of devices/ {ls:.1f} ms, all {files} files read in "
        f"{seconds:.1f} s ({files / seconds:.0f}/s)",
        flush=True,
    )


def run(file: Path, options: Options) -> None:
    """Build the configuration and read it, idle and while an initiator is at work."""
    with daemon() as (tree, port, pid):
        build(tree)
        _report(tree)
        server = Server("scstfs", port, _TARGET.format(0), 0, pid)
        undisturbed = own_load(server, POINT, options.seconds).rate
        # The reader runs longer than the measurement.
        with _going_on(multiprocessing.Process(target=_read_for_ever, args=(tree,))):
            disturbed = own_load(server, POINT, max(options.seconds, 5.0)).rate
        print(
            f"{POINT.name}: {undisturbed:.0f}/s, while everything is read {disturbed:.0f}/s: "
            f"{disturbed / undisturbed:.2f}"
        )
        argv = load_command(server, POINT, _LONGEST)
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as load:
            try:
                print("beside that load:", end=" ")
                _report(tree)
            finally:
                load.terminate()


def _read_for_ever(tree: Path) -> None:
    while True:
        read_everything(tree)


@contextlib.contextmanager
def _going_on(process: multiprocessing.Process) -> Iterator[None]:
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()
