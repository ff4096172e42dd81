"""The cost of using the tree: single calls, all of its files, and during a load.

Other programs are measured, too, if they are named: SCSTADMIN is the directory of SCST's scstadmin
(``scstadmin.sysfs``), PYSCSTADMIN that of truenas_pyscstadmin.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench.clients import Point, load_command, own_load
from bench.options import Options
from bench.scale import read_everything
from bench.servers import Server, daemon

_TARGET: Final = "iqn.2007-05.com.example:tree{}"
_DEEP: Final = f"targets/iscsi/{_TARGET.format(0)}/luns/0/read_only"
_FILES: Final = 10_000
_FILES_PER_LUN: Final = 96
"""The approximate number of readable files of a device with its own target."""
_CALLS: Final = 3000
_POINT: Final = Point("4 KiB random read, depth 32", False, 4096, 32, True)
_PAUSE: Final = 0.005
_LONGEST: Final = 3600.0
_PLACE: Final = "/sys/kernel/scst_tgt"
_SIZES: Final = (100, 1000)


def run(file: Path, options: Options) -> None:
    """Measure calls, then programs."""
    with daemon() as (tree, port, pid):
        _build(tree, file, _FILES // _FILES_PER_LUN)
        _calls(tree)
        files, seconds = read_everything(tree)
        print(f"all {files} files read in {seconds:.2f} s", flush=True)
        _beside_load(tree, Server("scstfs", port, _TARGET.format(0), 0, pid), options)
    for name, command in _programs().items():
        for size in _SIZES[: 1 if name == "scstadmin" else None]:
            _program(name, command, size)


def _write(tree: Path, path: str, text: str) -> None:
    descriptor = os.open(tree / path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _build(tree: Path, file: Path, luns: int) -> None:
    for number in range(luns):
        target = _TARGET.format(number)
        device = f"add_device d{number} filename={file}; blocksize=4096"
        _write(tree, "handlers/vdisk_fileio/mgmt", device)
        _write(tree, "targets/iscsi/mgmt", f"add_target {target}")
        _write(tree, f"targets/iscsi/{target}/luns/mgmt", f"add d{number} 0")
        _write(tree, f"targets/iscsi/{target}/enabled", "1")
    _write(tree, "targets/iscsi/enabled", "1")


def _median(action: Callable[[], object], times: int = _CALLS, pause: float = 0.0) -> float:
    """Return the median time (microseconds) of an action."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
        time.sleep(pause)
    return statistics.median(taken) * 1e6


def _calls(tree: Path) -> None:
    # Not by the path through /proc, which would be measured, too.
    root = os.open(tree, os.O_RDONLY)
    link = f"{os.path.dirname(_DEEP)}/device"
    calls: dict[str, Callable[[], object]] = {
        "stat, five deep": lambda: os.stat(_DEEP, dir_fd=root),
        "stat of a missing name": lambda: _is_missing(f"{_DEEP}x", root),
        "open, read, close, five deep": lambda: _open_read_close(_DEEP, root),
        "readlink, five deep": lambda: os.readlink(link, dir_fd=root),
        "open, write, close": lambda: _rewrite("devices/d0/threads_num", root),
        f"list of devices/ ({len(os.listdir(tree / 'devices'))})": lambda: _list("devices", root),
    }
    for name, call in calls.items():
        print(f"{name:32} {_median(call):8.1f} us", flush=True)
    os.close(root)


def _is_missing(path: str, root: int) -> bool:
    try:
        os.stat(path, dir_fd=root)
    except FileNotFoundError:
        return True
    return False


def _open_read_close(path: str, root: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY, dir_fd=root)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def _rewrite(path: str, root: int) -> None:
    descriptor = os.open(path, os.O_WRONLY, dir_fd=root)
    try:
        os.write(descriptor, b"8\n")
    finally:
        os.close(descriptor)


def _list(path: str, root: int) -> list[str]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _beside_load(tree: Path, server: Server, options: Options) -> None:
    """Read an attribute periodically, idle and during a load, and print the effect on both."""
    root = os.open(tree, os.O_RDONLY)

    def read() -> float:
        times = max(50, int(options.seconds / _PAUSE))
        return _median(lambda: _open_read_close(_DEEP, root), times, _PAUSE)

    def rates(*, reading: bool) -> float:
        reader = [sys.executable, "-m", "bench.tree", str(tree)]
        with subprocess.Popen(reader) if reading else contextlib.nullcontext() as process:
            rate = own_load(server, _POINT, options.seconds).rate
            if process is not None:
                process.terminate()
        return rate

    idle, ratios, lost = [], [], []
    for _ in range(options.rounds):
        idle.append(read())
        argv = load_command(server, _POINT, _LONGEST)
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as load:
            time.sleep(0.5)
            ratios.append(read() / idle[-1])
            load.terminate()
        lost.append(rates(reading=True) / rates(reading=False))
    print(
        f"open, read, close every {_PAUSE * 1000:.0f} ms: idle {statistics.median(idle):.0f} us, "
        f"beside {_POINT.name}: {statistics.median(ratios):.2f} times that; the load keeps "
        f"{statistics.median(lost):.2f} of its rate",
        flush=True,
    )
    os.close(root)


def _read_for_ever(tree: str) -> None:
    """The monitoring program for the measurement above."""
    root = os.open(tree, os.O_RDONLY)
    while True:
        _open_read_close(_DEEP, root)
        time.sleep(_PAUSE)


# Other programs


def _programs() -> dict[str, list[str]]:
    """The command lines of those that exist, without the name of the configuration."""
    found = {}
    if scstadmin := os.environ.get("SCSTADMIN"):
        library = f"{scstadmin}/scst-1.0.0/lib"
        argv = ["perl", f"-I{library}", f"{scstadmin}/scstadmin", "-force", "-noprompt"]
        found["scstadmin"] = [*argv, "-config"]
    if pyscstadmin := os.environ.get("PYSCSTADMIN"):
        argv = [sys.executable, f"{pyscstadmin}/pyscstadmin", "-suspend", "1"]
        found["pyscstadmin"] = [*argv, "-config"]
    return found


@contextlib.contextmanager
def _configuration(size: int) -> Iterator[tuple[Path, Path]]:
    """Make a configuration with a number of devices and targets; yield it and a directory of
    programs.

    The latter has a modprobe that does nothing.
    """
    with tempfile.TemporaryDirectory(prefix="scstfs-bench.") as name:
        directory = Path(name)
        lines = ["HANDLER vdisk_fileio {"]
        for number in range(size):
            disk = directory / f"disk{number}"
            with disk.open("wb") as file:
                file.truncate(1 << 20)
            lines.append(f"DEVICE d{number} {{\nfilename {disk}\n}}")
        lines.append("}\nTARGET_DRIVER iscsi {\nenabled 1")
        for number in range(size):
            lines.append(f"TARGET {_TARGET.format(number)} {{")
            lines.append(f"rel_tgt_id {number + 1}\nLUN 0 d{number}\nenabled 1\n}}")
        lines.append("}\n")
        configuration = directory / "scst.conf"
        configuration.write_text("\n".join(lines))
        modprobe = directory / "bin" / "modprobe"
        modprobe.parent.mkdir()
        modprobe.symlink_to("/bin/true")
        yield configuration, modprobe.parent


def _program(name: str, argv: list[str], size: int) -> None:
    with _configuration(size) as (configuration, programs), daemon(_PLACE) as (tree, _, _):
        pid = tree.parts[2]
        inside = ["nsenter", f"--target={pid}", "--mount", *argv, str(configuration)]
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        for what in ("from empty", "unchanged"):
            began = time.perf_counter()
            subprocess.run(inside, check=True, stdout=subprocess.DEVNULL, env=environment)
            seconds = time.perf_counter() - began
            print(f"{name}, {size} targets and devices, {what}: {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    _read_for_ever(sys.argv[1])
