from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from scstfs.handlers.device_node import DeviceNode, NoNodeError, open_node
from scstfs.sgutils import libsgutils
from scstfs.sgutils.sg_pt import PassThroughResult
from tests.support.scsi_devices import Machine

ADDRESS = "1:0:0:0"
PLACE = "pci0000:00/ata2/host1/target1:0:0"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(libsgutils, "available", lambda: True)
    machine = Machine(tmp_path / "sys")
    machine.plug(ADDRESS, 0, PLACE)
    (tmp_path / "dev/bsg").mkdir(parents=True)
    return machine


def device(machine: Machine) -> Path:
    return machine.scsi_devices / ADDRESS / "device"


def opened(machine: Machine) -> str:
    """The name of the node that is opened."""
    dev = machine.root.parent / "dev"
    node = open_node(machine.scsi_devices, ADDRESS, dev)
    name = os.readlink(f"/proc/self/fd/{node._fd}")
    node.close()
    return str(Path(name).relative_to(dev))


def test_the_generic_node_comes_first(machine: Machine) -> None:
    dev = machine.root.parent / "dev"
    (device(machine) / "scsi_generic/sg7").mkdir(parents=True)
    (dev / "bsg" / ADDRESS).touch()
    assert opened(machine) == f"bsg/{ADDRESS}"
    (dev / "sg7").touch()
    assert opened(machine) == "sg7"


@pytest.mark.parametrize("is_there", [True, False])
def test_no_node(machine: Machine, is_there: bool) -> None:
    if not is_there:
        machine.unplug(ADDRESS)
    with pytest.raises(OSError, match="has none of the nodes bsg/1:0:0:0") as failure:
        opened(machine)
    assert failure.value.errno == errno.ENODEV
    assert isinstance(failure.value, NoNodeError) is is_there


def test_a_node_that_can_not_be_opened(machine: Machine) -> None:
    (machine.root.parent / "dev/bsg" / ADDRESS).mkdir()
    with pytest.raises(IsADirectoryError):
        opened(machine)


def test_nothing_can_be_done_without_the_library(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libsgutils, "available", lambda: False)
    with pytest.raises(OSError, match="libsgutils2 is not installed") as failure:
        opened(machine)
    assert failure.value.errno == errno.ELIBACC


@pytest.mark.parametrize(
    ("sectors", "segments", "limit"),
    [
        ("1280", "168", 168 * 4096),
        ("120", "2048", 120 << 10),
        ("120", None, 120 << 10),
        ("nonsense", None, 0),
        (None, None, 0),
    ],
)
def test_how_much_goes_at_a_time(
    machine: Machine, sectors: str | None, segments: str | None, limit: int
) -> None:
    (machine.root.parent / "dev/bsg" / ADDRESS).touch()
    queue = device(machine) / "block/sda/queue"
    queue.mkdir(parents=True)
    for name, value in (("max_hw_sectors_kb", sectors), ("max_segments", segments)):
        if value is not None:
            (queue / name).write_text(f"{value}\n")
    node = open_node(machine.scsi_devices, ADDRESS, machine.root.parent / "dev")
    node.close()
    assert node.limit == limit


def test_a_node_is_closed_after_its_last_command() -> None:
    entered, go_on = threading.Event(), threading.Event()
    fd = os.open("/dev/null", os.O_RDWR)

    def run(*_: object, **__: object) -> PassThroughResult:
        entered.set()
        assert go_on.wait(10)
        os.fstat(fd)
        return PassThroughResult(0, b"", 0)

    node = DeviceNode(fd, run=run)
    results: list[PassThroughResult] = []
    thread = threading.Thread(target=lambda: results.append(node.execute(bytes(6), 10)))
    thread.start()
    assert entered.wait(10)
    node.close()
    node.close()
    with pytest.raises(OSError, match="No such device"):
        node.execute(bytes(6), 10)
    os.fstat(fd)
    go_on.set()
    thread.join()
    assert results
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
