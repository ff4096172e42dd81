"""The target's own histograms beside what a load generator measures at the other end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scstfs.admin.distribution import Distribution
from scstfs.admin.observations import statistics
from tests.support.mounted import REPOSITORY
from tests.support.served import DIRECTORY, HOST, TARGET, Served, served
from tests.support.slow_disk import slow_disk

pytestmark = pytest.mark.slow

# Most accesses are quick, some are slow: the median and the 99th percentile differ.
DELAYS = (0.004,) * 19 + (0.04,)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as daemon:
        yield daemon


def load(daemon: Served, *options: str) -> dict[str, float]:
    argv = [sys.executable, "-m", "bench.load", HOST, str(daemon.port), TARGET, "0", *options]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, check=True, timeout=50)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def histogram(daemon: Served, device: str, kind: str, span: str = "total") -> Distribution:
    found: Any = statistics(str(daemon.path), f"devices/{device}")
    return Distribution.of(found["times"][kind][span])


def test_percentiles_of_a_slow_disk_agree_with_the_initiator_s(
    daemon: Served, tmp_path: Path
) -> None:
    """Of a command that takes less than the way to the target, the initiator measures the way."""
    with slow_disk(tmp_path, DELAYS) as disk:
        daemon.write("handlers/vdisk_fileio/mgmt", f"add_device slow filename={disk}\n")
        daemon.write("targets/iscsi/mgmt", f"add_target {TARGET}\n")
        daemon.write(f"{DIRECTORY}/luns/mgmt", "add slow 0\n")
        daemon.write(f"{DIRECTORY}/enabled", "1\n")
        daemon.write("targets/iscsi/enabled", "1\n")
        for kind, options in (("read", ()), ("write", ("--write",))):
            measured = load(daemon, "--seconds", "2", *options)
            found = histogram(daemon, "slow", kind)
            assert found.count >= measured["operations"] > 100
            assert found.percentile(0.5) == pytest.approx(measured["median"], rel=0.1)
            assert found.percentile(0.99) == pytest.approx(measured["slowest"], rel=0.1)
            assert histogram(daemon, "slow", kind, "back_end").count > 0
        daemon.write("targets/iscsi/enabled", "0\n")
        daemon.write("targets/iscsi/mgmt", f"del_target {TARGET}\n")
        daemon.write("handlers/vdisk_fileio/mgmt", "del_device slow\n")
