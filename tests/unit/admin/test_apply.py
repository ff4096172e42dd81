"""Interruptions of a plan, on a directory in place of the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from scstfs.admin.apply import StepRunner
from scstfs.admin.configuration import Item
from scstfs.admin.files import Files
from scstfs.admin.kinds import DEVICE
from scstfs.admin.steps import Step, StepPhase, Verb, Write

MGMT = "handlers/vdisk_nullio/mgmt"


class InterruptedFiles(Files):
    """A tree that knows devices, and an interruption before or after its second change."""

    def __init__(self, root: Path, *, is_late: bool) -> None:
        super().__init__(str(root))
        self._devices = root / "devices"
        self._devices.mkdir()
        self._is_late = is_late
        self.commands: list[str] = []

    def write(self, name: str, data: str) -> int:
        assert name == MGMT
        is_second = len(self.commands) == 1
        self.commands.append(data)
        if is_second and not self._is_late:
            raise KeyboardInterrupt
        verb, device = data.split()
        if verb == "add_device":
            (self._devices / device).mkdir()
        else:
            (self._devices / device).rmdir()  # refused if it is not there
        if is_second:
            raise KeyboardInterrupt
        return len(data)

    def present(self) -> set[str]:
        return {path.name for path in self._devices.iterdir()}


def step(verb: Verb, name: str) -> Step:
    add, remove = Write(MGMT, f"add_device {name}"), Write(MGMT, f"del_device {name}")
    action, undo = (add, remove) if verb is Verb.ADD else (remove, add)
    return Step(StepPhase.DEVICES, verb, Item(DEVICE, name), action, (undo,))


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("verb", [Verb.ADD, Verb.REMOVE])
def test_an_interrupted_step_is_undone_only_if_it_was_done(
    tmp_path: Path, verb: Verb, is_late: bool
) -> None:
    files = InterruptedFiles(tmp_path, is_late=is_late)
    before = set() if verb is Verb.ADD else {"one", "two"}
    for name in before:
        (tmp_path / "devices" / name).mkdir()
    with pytest.raises(KeyboardInterrupt) as interruption:
        StepRunner(files).run([step(verb, "one"), step(verb, "two"), step(verb, "three")])
    assert files.present() == before
    assert not getattr(interruption.value, "__notes__", [])
    assert len(files.commands) == (4 if is_late else 3)
