"""libiscsi's conformance tests against several kinds of disks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from scstfs.handlers.syscalls import punch_hole
from tests.interop.libiscsi import (
    KERNEL,
    Outcome,
    Result,
    known_failures,
    listed,
    names,
    outcomes,
    run,
)
from tests.interop.storage import MIB, TARGET, Storage, storage
from tests.support.loop import loop_device
from tests.support.needs import need_mounts, need_programs

# The tests sleep a lot, so many of them run at once.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SIZE: Final = 64 * MIB


@dataclass(frozen=True, slots=True)
class Disk:
    """A kind of disk, and which tests are run against it.

    Attributes:
        user: the name and the password that logins need.
        copies: on how many such disks tests are run at the same time.
    """

    handler: str = "vdisk_fileio"
    parameters: str = "thin_provisioned=1"
    tests: tuple[str, ...] = ("ALL.*",)
    options: tuple[str, ...] = ()
    user: str = ""
    copies: int = 1


DISKS: Final[Mapping[str, Disk]] = {
    "thin": Disk(parameters="thin_provisioned=1; lb_per_pb_exp=0", copies=3),
    # Where physical blocks are larger than logical ones, which these suites are about.
    "thin-512e": Disk(tests=("ALL.[CGIU]*", "ALL.WriteSame*")),
    "thin-4096": Disk(
        parameters="thin_provisioned=1; blocksize=4096", tests=("LINUX.*",), copies=2
    ),
    "blockio": Disk(handler="vdisk_blockio", copies=3),
    "nullio": Disk(handler="vdisk_nullio", parameters=f"size={SIZE}", tests=("LINUX.*",), copies=2),
    "ssd": Disk(
        parameters="thin_provisioned=1; rotational=0",
        tests=("ALL.Sanitize.*",),
        options=("--allow-sanitize",),
    ),
    "chap": Disk(tests=("ALL.iSCSICHAP.*",), user="somebody 12charsecret"),
    "read-only": Disk(parameters="read_only=1", tests=("ALL.ReadOnly.*",)),
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

_EXPECTED: Final = "login of an unknown initiator took too long|refused: CHAP: "
"""What the daemon warns of when a test waits for ever with a new connection, or logs in badly."""


class Runs:
    """All tests, by kind of disk; those that are not waited for are ended at the end."""

    def __init__(self, stack: ExitStack, directory: Path, memory: Path) -> None:
        self._runs: dict[str, list[Future[Outcome]]] = {}
        for kind, disk in DISKS.items():
            place = directory / kind
            place.mkdir()
            served = stack.enter_context(storage(place, expected=_EXPECTED))
            tests = listed(*disk.tests)
            for number in range(disk.copies):
                device = f"{kind}{number}"
                # A block device waits for its file with every write, and how fast a real disk is
                # must not matter here.
                file = (memory if disk.handler == "vdisk_blockio" else place) / device
                name = stack.enter_context(_medium(disk, file))
                parameters = f"filename={name}; " * (disk.handler != "vdisk_nullio")
                served.add_device(disk.handler, device, parameters + disk.parameters)
                arguments = [*disk.options, *_two_paths(served, device, number, disk.user)]
                # One at a time: each takes the disk for its own.
                pool = ThreadPoolExecutor(1)
                stack.callback(pool.shutdown, cancel_futures=True)
                self._runs.setdefault(kind, []).extend(
                    pool.submit(_run, file, test, *arguments)
                    for test in tests[number :: disk.copies]
                )

    def of(self, kind: str) -> list[Outcome]:
        """Wait for the tests on a kind of disk; return their outcomes."""
        return [future.result() for future in self._runs[kind]]


@contextmanager
def _medium(disk: Disk, file: Path) -> Iterator[str]:
    """Make the file that a disk is made of; gives the name that the disk wants."""
    with file.open("wb") as opened:
        opened.truncate(SIZE)
    if disk.handler != "vdisk_blockio":
        yield str(file)
        return
    with loop_device(file) as device:
        yield device


def _run(file: Path, test: str, *arguments: str) -> Outcome:
    """Run a test on a disk of zeros, which some of them expect without writing them."""
    with file.open("r+b") as opened:
        punch_hole(opened.fileno(), 0, SIZE)
    return run(test, *arguments)


def _two_paths(served: Storage, device: str, number: int, user: str) -> list[str]:
    """Export a device by two targets that are in target groups; returns the URLs."""
    group = f"device_groups/dg{number}"
    served.write("device_groups/mgmt", f"create dg{number}")
    served.write(f"{group}/devices/mgmt", f"add {device}")
    urls = []
    for path in (1, 2):
        target = f"{TARGET}{number}.{path}"
        served.add_target(target, device)
        if user:
            attribute = f"add_target_attribute {target} IncomingUser {user}"
            served.write("targets/iscsi/mgmt", attribute)
        served.write(f"{group}/target_groups/mgmt", f"create tg{path}")
        served.write(f"{group}/target_groups/tg{path}/group_id", f"{2 * number + path}")
        served.write(f"{group}/target_groups/tg{path}/mgmt", f"add {target}")
        urls.append(served.url(target, login=user.replace(" ", "%")))
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
    if not found:
        pytest.skip("this release of libiscsi has none of these tests")
    failed = {outcome.test: outcome for outcome in found if outcome.result is Result.FAILED}
    known = set(known_failures(kind)) & {outcome.test for outcome in found}
    surprises = [
        f"{outcome.test}\n{outcome.text}"
        for outcome in failed.values()
        if outcome.test not in known
    ]
    assert not surprises, "\n\n".join(surprises)
    assert known == set(failed), "stale entries among the known failures"


def test_the_whole_list_was_run_with_fewer_tests_skipped_than_by_the_kernel(runs: Runs) -> None:
    kernel, ours = outcomes(KERNEL.read_text()), runs.of("thin")
    whole = {outcome.test for outcome in kernel}  # newer releases have more
    assert {outcome.test for outcome in ours} >= whole
    skipped = whole.intersection(names(ours, Result.SKIPPED))
    assert len(skipped) < len(set(names(kernel, Result.SKIPPED)))


def test_nothing_is_skipped_that_the_kernel_does_not_skip(runs: Runs) -> None:
    kernel, ours = outcomes(KERNEL.read_text()), runs.of("thin-512e")
    assert len(ours) > 30
    assert set(names(ours, Result.SKIPPED)) < set(names(kernel, Result.SKIPPED))


@pytest.mark.parametrize("suite", SHARING)
def test_initiators_that_share_a_disk_pass_without_exception(runs: Runs, suite: str) -> None:
    found = [outcome for outcome in runs.of("thin") if outcome.test.startswith(f"{suite}.")]
    known = known_failures("thin")
    assert {outcome.result for outcome in found if outcome.test not in known} == {Result.PASSED}
