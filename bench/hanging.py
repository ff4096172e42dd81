"""Many sessions of a sound LUN, while the disk of another one answers and while it hangs."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

from bench import servers
from bench.clients import Measurement, Point, crowd_load
from bench.crowd import Member, isid
from bench.initiator import Session
from bench.load import Load
from bench.options import Options
from bench.servers import Server
from tests.support.troubled_disk import TroubledDisk, troubled_disk

_HUNG: Final = 1
_DEPTH: Final = 32
_POINTS: Final = tuple(
    Point(f"4 KiB random read, {sessions} sessions", False, 4096, 4, True, sessions=sessions)
    for sessions in (1, 64)
)


def _while_it_hangs(
    server: Server, disk: TroubledDisk, point: Point, seconds: float
) -> Measurement:
    with closing(Session(server.address, server.target, _HUNG, False, isid(0))) as session:
        member = Member(session, Load(True, 4096, _DEPTH, at_random=True, seconds=seconds))
        disk.hang("write")  # what was read would be in memory
        try:
            member.send(more=True)
            disk.wait_until_hanging("write")
            return crowd_load(server, point, seconds)
        finally:
            disk.answer()
            while not member.is_idle:
                member.receive()


def run(file: Path, options: Options) -> None:
    """Print both rates, and how the sessions share them."""
    with (
        tempfile.TemporaryDirectory(prefix="scstfs-bench.") as directory,
        troubled_disk(Path(directory)) as disk,
        servers.scstfs(file, others={"hung": disk.disk}) as server,
    ):
        print(f"{'':34}{'/s':>9}{'hanging':>9}{'ratio':>7}  slowest/median, hanging", flush=True)
        for point in _POINTS:
            if options.only not in point.name:
                continue
            sound, hanging = [], []
            for _ in range(options.rounds):
                sound.append(crowd_load(server, point, options.seconds))
                hanging.append(_while_it_hangs(server, disk, point, options.seconds))
            both = [statistics.median(one.rate for one in each) for each in (sound, hanging)]
            ratio = statistics.median(b.rate / a.rate for a, b in zip(sound, hanging, strict=True))
            fair = [statistics.median(one.fairness for one in each) for each in (sound, hanging)]
            print(
                f"{point.name:34}{both[0]:9.0f}{both[1]:9.0f}{ratio:7.2f}"
                f"  {fair[0]:.2f}, {fair[1]:.2f}",
                flush=True,
            )
