"""What is counted when a command of the general way ends: counters, times, outcomes, events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from scstfs.core.histogram import NANO
from scstfs.core.nexus_times import OTHER, READ, WRITE
from scstfs.scsi import sense
from scstfs.scsi.opcodes import Direction
from scstfs.scsi.sense import SenseKey
from scstfs.scsi.status import Status

if TYPE_CHECKING:
    from scstfs.core.command import Command

_COUNTER: Final = {
    Direction.NONE: "none",
    Direction.IN: "read",
    Direction.OUT: "write",
    Direction.BIDIRECTIONAL: "bidi",
}

_LATENCY_KIND: Final = {
    Direction.NONE: "n",
    Direction.IN: "r",
    Direction.OUT: "w",
    Direction.BIDIRECTIONAL: "b",
}

_KINDS: Final = {Direction.IN: READ, Direction.OUT: WRITE}

#: Sense keys that tell of a fault, not of a mistake or of a change.
_FAULTS: Final = frozenset(
    {SenseKey.MEDIUM_ERROR, SenseKey.HARDWARE_ERROR, SenseKey.ABORTED_COMMAND, SenseKey.MISCOMPARE}
)

#: Commands that change who may use a device, by their names in the opcode table.
_RESERVING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "reserve": "RESERVE",
        "release": "RELEASE",
        "persistent_reserve_out": "PERSISTENT RESERVE OUT",
    }
)


def command_ended(cmd: Command) -> None:
    """Count a command that is about to be answered, or that is never answered."""
    decoded = cmd.decoded
    direction = Direction.NONE
    if decoded is not None and cmd.status is Status.GOOD:
        direction = decoded.direction
    counter = cmd.session.counters.of(_COUNTER[direction])
    if decoded is None or direction is Direction.NONE:
        counter.cmds += 1
    else:
        counter.count(decoded.length, (decoded.lba or 0) << cmd.device.block_shift)
    if cmd.has_device:
        _count_times(cmd)
        _count_outcome(cmd)
    if cmd.spans is not None:
        kind = _LATENCY_KIND[cmd.expected_direction]
        cmd.session.latency.add(kind, cmd.expected_length, cmd.spans)


def _count_times(cmd: Command) -> None:
    if cmd.status is None:
        return
    now = time.monotonic()
    kind = OTHER if cmd.decoded is None else _KINDS.get(cmd.decoded.direction, OTHER)
    since = cmd.executing_since
    cmd.tgt_dev.times.ended(
        kind,
        round((now - cmd.began) * NANO),
        round((now - since) * NANO) if since else None,
        has_data=len(cmd.data_in) > 0,
    )


def _count_outcome(cmd: Command) -> None:
    """Count a failure; note what concerns others."""
    outcomes = cmd.device.outcomes
    if cmd.status is Status.GOOD:
        name = None if cmd.decoded is None else _RESERVING.get(cmd.decoded.op.execute)
        if name is not None:
            _note(cmd, "reservation", name)
        return
    if cmd.status is not Status.CHECK_CONDITION:
        outcomes["no_answer" if cmd.status is None else cmd.status.name.lower()] += 1
        return
    found = sense.decode(cmd.sense)
    key = SenseKey.NO_SENSE if found is None else found.key
    outcomes[key.name.lower()] += 1
    if found is not None and key in _FAULTS:
        words = key.name.lower().replace("_", " ")
        _note(cmd, "error", f"{words} ({found.asc:02x}/{found.ascq:02x})")


def _note(cmd: Command, kind: str, text: str) -> None:
    session, device = cmd.session, cmd.device
    session.target.env.statistics.note(
        kind,
        f"{device.name}: {text} of {session.initiator_name}",
        target=session.target.name,
        initiator=session.initiator_name,
        device=device.name,
    )
