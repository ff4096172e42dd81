"""However commands and copies come: all get their turn, and none at a wrong time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scstfs.core.command import Command
from scstfs.core.taskset import Claim, Hold, TaskSet
from tests.support.fake_task import Devices, FakeTask

DEVICES = 3


@dataclass(frozen=True)
class Plan:
    """A command to come: at which device, what it claims where, and how it is ordered."""

    device: int
    claims: tuple[tuple[int, Claim], ...]
    head: bool
    serialized: bool
    ordered: bool


class Simulation(Devices):
    """Devices with copies between them, and checks that conflicting commands never run together."""

    def __init__(self) -> None:
        super().__init__(DEVICES)
        #: The commands, with their holds at other devices.
        self.running: dict[FakeTask, list[tuple[TaskSet, Hold]]] = {}

    def begin(self, plan: Plan, name: str) -> None:
        # Only copies have claims on other devices, and theirs are exclusive.
        claims = [
            (self.sets[number], claim._replace(exclusive=claim.exclusive or number != plan.device))
            for number, claim in plan.claims
        ]
        cmd = FakeTask(
            name, claims, head=plan.head, serialized=plan.serialized, ordered=plan.ordered
        )
        self.send(cmd, plan.device)

    def start(self, cmd: Command) -> None:
        assert isinstance(cmd, FakeTask)
        own = self.home[cmd]
        for other in self.running:
            self.check_together(cmd, other)
            if self.home[other] is own:
                assert not other.alone, "something runs that wants to be alone"
                assert not cmd.waits_for_others, "an ordered command did not wait"
        super().start(cmd)
        # As copies do: claims on other devices are held there.
        self.running[cmd] = [
            (tasks, tasks.hold([claim])) for tasks, claim in cmd.claims() if tasks is not own
        ]

    @staticmethod
    def check_together(cmd: FakeTask, other: FakeTask) -> None:
        for tasks, claim in cmd.claims():
            for their_tasks, theirs in other.claims():
                assert tasks is not their_tasks or not claim.excludes(theirs)

    def finish_one(self, number: int) -> None:
        cmd = list(self.running)[number % len(self.running)]
        holds = self.running.pop(cmd)
        self.finish(cmd)
        for tasks, hold in holds:
            tasks.release(hold)


starts = st.integers(0, 8)
claims = st.builds(
    lambda start, length, writes, exclusive: Claim(start, start + length, writes, exclusive),
    starts,
    st.integers(0, 6),
    st.booleans(),
    st.booleans(),
)
plans = st.builds(
    Plan,
    st.integers(0, DEVICES - 1),
    st.lists(st.tuples(st.integers(0, DEVICES - 1), claims), max_size=3).map(tuple),
    head=st.sampled_from((False, False, False, True)),
    serialized=st.sampled_from((False, False, False, True)),
    ordered=st.sampled_from((False, False, False, True)),
)
steps = st.lists(plans | st.integers(0, 20), max_size=40)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(sequence=steps)
def test_everything_gets_its_turn(sequence: Sequence[Plan | int]) -> None:
    simulation = Simulation()
    for number, step in enumerate(sequence):
        if isinstance(step, Plan):
            simulation.begin(step, str(number))
        elif simulation.running:
            simulation.finish_one(step)
    while simulation.running:
        simulation.finish_one(0)
    assert len(simulation.started) == sum(isinstance(step, Plan) for step in sequence)
    for tasks in simulation.sets:
        assert not tasks.waiting
        assert not tasks.gated
