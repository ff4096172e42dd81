"""The recording of persistent reservations, replayed with sessions of scst_local.

What sg_persist printed is compared line by line, and what the files held byte by byte.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import trio

from scstfs.local import LocalSession, open_session
from tests.support.machine import need_machine, on_recorded_machine
from tests.support.recordings import Record, differences, load, scenario
from tests.support.replay import Replay, run_shell
from tests.support.replay_mount import LEFT_OUT
from tests.support.sg_persist import SgUtils
from tests.support.whole import Whole, whole

SCENARIO: Final = "11_persistent_reservations"
TARGET: Final = "tgtl"
DEVICES: Final = {"/dev/sg1": "sessA", "/dev/sg2": "sessB"}
PROGRAMS: Final = ("sg_persist", "sg_turs")
TEST_UNIT_READY: Final = bytes(6)

#: What sg_turs prints of a unit attention, and what `SgUtils` does.
REGISTRATIONS_PREEMPTED: Final = "sense 6 2a 5"
PREEMPTED_TEXT: Final = "Additional sense: Registrations preempted"


class Shell:
    """The shell of the scenario: the programs work on sessions, the files are real ones."""

    def __init__(self, everything: Whole) -> None:
        self._target = everything.local.targets
        self._utilities = SgUtils({})

    async def run(self, command: str) -> Record:
        if "lsscsi" in command:
            await self._probe()
        out: list[str] = []
        for part in map(str.strip, command.split(";")):
            if part.startswith(PROGRAMS):
                out += await self._utilities.run(part)
            elif part == "echo rc=$?":
                out.append(f"rc={self._utilities.exit_status}")
            elif part.startswith("od "):
                out += (await run_shell(part))["out"].splitlines()
            elif part.startswith("ls "):
                out += sorted(path.name for path in Path(part.split()[-1]).iterdir())
        return {"rc": 0, "out": "\n".join(out), "err": ""}

    async def _probe(self) -> None:
        """Find the devices, as a kernel does; that takes the unit attention of each nexus."""
        sessions: dict[str, LocalSession] = {}
        for device, name in DEVICES.items():
            if name in self._target[TARGET].sessions:
                sessions[device] = open_session(self._target[TARGET], name)
                await sessions[device].execute(0, TEST_UNIT_READY)
        self._utilities = SgUtils(sessions)


def relevant(record: Record) -> list[str]:
    """The lines that a shell command printed, in the words of `Shell`."""
    lines = []
    for line in (record["out"] + record["err"]).splitlines():
        listed = re.fullmatch(r"-rw-r--r-- .* (\S+)", line)
        if listed:
            lines.append(listed[1])
        elif line == PREEMPTED_TEXT:
            lines.append(REGISTRATIONS_PREEMPTED)
        elif re.match(r"[ \t]|rc=|Report|sense |disk1", line) and "test unit ready" not in line:
            lines.append(line)
    return lines


def printed(recorded: list[Record], ours: list[Record]) -> list[str]:
    """What shell commands of the scenario print otherwise."""
    return [
        f"{record['cmd']}: expected {relevant(record)}, got {relevant(mine)}"
        for record, mine in zip(recorded, ours, strict=True)
        if "/dev/sg" in record.get("cmd", "") or "/var/lib" in record.get("cmd", "")
        if relevant(record) != relevant(mine)
    ]


@pytest.mark.slow
def test_reservations_are_as_recorded() -> None:
    need_machine()

    async def replay() -> list[str]:
        async with whole(Path("/var/lib/scst")) as everything:
            shell = Shell(everything).run
            actual = await Replay(everything.tree, shell).run(scenario(SCENARIO))
        recorded = load(SCENARIO)
        return differences(recorded, actual, LEFT_OUT) + printed(recorded, actual)

    def body() -> None:
        found = trio.run(replay)
        assert not found, "\n".join(found)

    on_recorded_machine(body)
