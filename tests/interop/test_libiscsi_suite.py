"""libiscsi's conformance tests against several kinds of disks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.interop.libiscsi import KERNEL, Outcome, Result, Run, known_failures, names, outcomes
from tests.interop.storage import MIB, TARGET, Storage, storage
from tests.support.loop import loop_device
from tests.support.needs import need_mounts, need_programs

# The runs sleep a lot, so all of them go on at once.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SIZE: Final = 64 * MIB
FAMILIES: Final = ("ALL", "SCSI", "LINUX", "iSCSI")
"""The whole list: all tests there are, and those that other families repeat."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A kind of disk, and what is run against it."""

    handler: str = "vdisk_fileio"
    parameters: str = "thin_provisioned=1"
    tests: tuple[str, ...] = ("ALL",)
    options: tuple[str, ...] = ()


DISKS: Final[Mapping[str, Disk]] = {
    "thin": Disk(parameters="thin_provisioned=1; lb_per_pb_exp=0", tests=FAMILIES),
    # Where physical blocks are larger than logical ones, which these suites are about.
    "thin-512e": Disk(tests=("ALL.[CGIU]*", "ALL.WriteSame*")),
    "thin-4096": Disk(parameters="thin_provisioned=1; blocksize=4096", tests=("LINUX",)),
    "blockio": Disk(handler="vdisk_blockio"),
    "nullio": Disk(handler="vdisk_nullio", parameters=f"size={SIZE}", tests=("LINUX",)),
    "ssd": Disk(
        parameters="thin_provisioned=1; rotational=0",
        tests=("ALL.Sanitize",),
        options=("--allow-sanitize",),
    ),
    "read-only": Disk(parameters="read_only=1", tests=("ALL.ReadOnly",)),
}


SHARING: Final = (
    "PrinReadKeys",
    "PrinServiceactionRange",
    "PrinReportCapabilities",
    "ProutRegister",
    "ProutReserve",
    "ProutClear",
    "ProutPreempt",
    "Reserve6",
    "iSCSITMF",
    "MultipathIO",
)
"""Suites with several initiators or paths, of which nothing may fail or be skipped anywhere."""


class Runs:
    """All runs, by kind of disk."""

    def __init__(self, stack: ExitStack, directory: Path, memory: Path) -> None:
        self._runs: dict[str, list[Run]] = {}
        ready: list[tuple[str, Path, list[str]]] = []
        for kind, disk in DISKS.items():
            place = directory / kind
            place.mkdir()
            served = stack.enter_context(storage(place))
            for number, tests in enumerate(disk.tests):
                device = f"{kind}{number}"
                file = stack.enter_context(_medium(disk, place / device, memory / device))
                parameters = f"filename={file}; " * (disk.handler != "vdisk_nullio")
                served.add_device(disk.handler, device, parameters + disk.parameters)
                arguments = [*disk.options, f"--test={tests}"]
                arguments += _two_paths(served, device, number)
                ready.append((kind, place / f"{number}.txt", arguments))
        for kind, output, arguments in ready:
            run = stack.enter_context(Run(output, *arguments))
            self._runs.setdefault(kind, []).append(run)

    def of(self, kind: str) -> list[Outcome]:
        """Wait for the runs against a kind of disk; return their outcomes."""
        return [outcome for run in self._runs[kind] for outcome in run.outcomes()]


@contextmanager
def _medium(disk: Disk, file: Path, memory: Path) -> Iterator[str]:
    if disk.handler != "vdisk_blockio":
        with file.open("wb") as opened:
            opened.truncate(SIZE)
        yield str(file)
        return
    # Every write waits for the device, and how fast a disk is must not matter here.
    with memory.open("wb") as opened:
        opened.truncate(SIZE)
    with loop_device(memory) as device:
        yield device


def _two_paths(served: Storage, device: str, number: int) -> list[str]:
    """Export a device by two targets that are in target groups; returns the URLs."""
    group = f"device_groups/dg{number}"
    served.write("device_groups/mgmt", f"create dg{number}")
    served.write(f"{group}/devices/mgmt", f"add {device}")
    urls = []
    for path in (1, 2):
        target = f"{TARGET}{number}.{path}"
        served.add_target(target, device)
        served.write(f"{group}/target_groups/mgmt", f"create tg{path}")
        served.write(f"{group}/target_groups/tg{path}/group_id", f"{2 * number + path}")
        served.write(f"{group}/target_groups/tg{path}/mgmt", f"add {target}")
        urls.append(served.url(target))
    return urls


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    need_mounts()
    need_programs("iscsi-test-cu", "losetup")
    in_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="scstfs-interop-", dir=in_memory) as memory,
        ExitStack() as stack,
    ):
        yield Runs(stack, tmp_path_factory.mktemp("libiscsi"), Path(memory))


@pytest.mark.parametrize("kind", DISKS)
def test_all_pass_but_what_is_known_to_fail(runs: Runs, kind: str) -> None:
    found = runs.of(kind)
    failed = {outcome.test: outcome for outcome in found if outcome.result is Result.FAILED}
    known = known_failures(kind)
    surprises = [
        f"{outcome.test}\n{outcome.text}"
        for outcome in failed.values()
        if outcome.test not in known
    ]
    assert not surprises, "\n\n".join(surprises)
    assert set(known) == set(failed), "stale entries among the known failures"


def test_the_whole_list_was_run_with_fewer_tests_skipped_than_by_the_kernel(runs: Runs) -> None:
    kernel, ours = outcomes(KERNEL.read_text()), runs.of("thin")
    assert sorted(outcome.test for outcome in ours) == sorted(outcome.test for outcome in kernel)
    assert len(names(ours, Result.SKIPPED)) < len(names(kernel, Result.SKIPPED))


def test_nothing_is_skipped_that_the_kernel_does_not_skip(runs: Runs) -> None:
    kernel, ours = outcomes(KERNEL.read_text()), runs.of("thin-512e")
    assert len(ours) > 30
    assert set(names(ours, Result.SKIPPED)) < set(names(kernel, Result.SKIPPED))


@pytest.mark.parametrize("suite", SHARING)
def test_initiators_that_share_a_disk_pass_without_exception(runs: Runs, suite: str) -> None:
    found = [outcome for outcome in runs.of("thin") if outcome.test.startswith(f"{suite}.")]
    assert {outcome.result for outcome in found} == {Result.PASSED}
