"""Extended attributes of directories with what SCST's tree has no files for.

``user.scst.statistics`` of the root, of a device, a session and a LUN of a session, and
``user.scst.events`` and ``user.scst.log`` of the root.  The text is JSON.  Listings do not show
them, so the tree has SCST's files and no others; and one request reads what would take dozens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from scstfs import __version__, log
from scstfs.core.counters import DIRECTIONS
from scstfs.core.device import Device
from scstfs.core.histogram import Histogram
from scstfs.core.nexus_times import KINDS
from scstfs.core.scst import Scst
from scstfs.core.session import Session, TgtDev
from scstfs.core.statistics import Statistics
from scstfs.scsi.pr import PrType
from scstfs.sysfs import secrets_written
from scstfs.sysfs.node import Node
from scstfs.sysfs.text import decode

SCHEMA: Final = 1

#: Most bytes of an extended attribute (xattr(7)).
_MOST: Final = 1 << 16
_MOST_HOLDERS: Final = 32
#: Words of a management command that an event has: what is done, and with what.
_SHOWN_WORDS: Final = 2


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _target(scst: Scst) -> str:
    statistics, disks = scst.env.statistics, scst.env.opened_disks
    return _text(
        {
            "schema": SCHEMA,
            "version": __version__,
            "pid": os.getpid(),
            "started": statistics.started,
            "counts": statistics.counts,
            "threads": scst.env.threads.size,
            "engine": None if disks is None else [disks.name, disks.under_way],
        }
    )


def _events(scst: Scst) -> str:
    return scst.env.statistics.events.text


def _log(_scst: Scst) -> str:
    return log.recent()


TARGET: Final[Mapping[str, Callable[[Scst], str]]] = {
    "statistics": _target,
    "events": _events,
    "log": _log,
}
"""Of the root."""


def _histograms(sums: Mapping[tuple[str, str], Histogram]) -> dict[str, dict[str, Any]]:
    """By kind and span: the sum (ns), and buckets with their counts one after the other."""
    found: dict[str, dict[str, Any]] = {}
    for (kind, span), histogram in sums.items():
        filled = [number for pair in histogram.filled() for number in pair]
        found.setdefault(kind, {})[span] = [histogram.total, *filled]
    return found


def _reservation(device: Device) -> dict[str, Any] | None:
    reserved_by = device.reserved_by
    if reserved_by is not None:
        if isinstance(reserved_by, Session):
            return {"type": "RESERVE", "holders": [reserved_by.initiator_name]}
        # Only that node knows the initiator's name.
        return {"type": "RESERVE", "holders": [f"node {reserved_by.holder.node}"]}
    reservations = device.pr
    if not reservations.registrants:
        return None
    held = reservations.reservation
    holders = [r for r in reservations.registrants if reservations.is_holder(r)]
    return {
        "type": None if held is None else PrType(held.type).name,
        "holders": [r.transport_id.text for r in holders[:_MOST_HOLDERS]],
        "registrants": len(reservations.registrants),
        "generation": reservations.generation,
    }


def _device(device: Device) -> str:
    sums: dict[tuple[str, str], Histogram] = {}
    device.former_times.add_to(sums)
    for tgt_dev in device.tgt_devs:
        tgt_dev.times.add_to(sums)
    return _text(
        {
            "active": sum(len(tgt_dev.commands) for tgt_dev in device.tgt_devs),
            "outcomes": device.outcomes,
            "reservation": _reservation(device),
            "times": _histograms(sums),
        }
    )


DEVICE: Final[Mapping[str, Callable[[Device], str]]] = {"statistics": _device}


def _lun(tgt_dev: TgtDev) -> list[Any]:
    """The LUN, its device, its commands under way; then of each kind of commands how many have
    ended, and the sum of their times (ns). What is 0 at the end is left out.
    """
    counts = tgt_dev.times.counts()
    numbers = [number for kind in KINDS for number in counts.get(kind, (0, 0))]
    while numbers and not numbers[-1]:
        numbers.pop()
    return [tgt_dev.lun, tgt_dev.device.name, len(tgt_dev.commands), *numbers]


def session_statistics(
    session: Session, connections: Iterable[tuple[str, str]] = ()
) -> Mapping[str, Any]:
    """What there is of a session; a connection has the initiator's address and its portal."""
    return {
        "initiator": session.initiator_name,
        "group": None if session.acg.is_default else session.acg.name,
        "commands": session.command_count,
        "counters": {
            direction: [counter.cmds, counter.io_bytes]
            for direction in DIRECTIONS
            if (counter := session.counters.of(direction)).cmds
        },
        "connections": list(connections),
        "luns": [_lun(tgt_dev) for tgt_dev in session.tgt_devs.values()],
    }


def session_text(
    connections: Callable[[Session], Iterable[tuple[str, str]]],
) -> Mapping[str, Callable[[Session], str]]:
    """Of a session of a driver whose sessions have these *connections*."""

    def show(session: Session) -> str:
        found = session_statistics(session, connections(session))
        text = _text(found)
        return text if len(text) <= _MOST else _text({**found, "luns": None})

    return {"statistics": show}


def _tgt_dev(tgt_dev: TgtDev) -> str:
    sums: dict[tuple[str, str], Histogram] = {}
    tgt_dev.times.add_to(sums)
    return _text({"active": len(tgt_dev.commands), "times": _histograms(sums)})


LUN: Final[Mapping[str, Callable[[TgtDev], str]]] = {"statistics": _tgt_dev}
"""Of a LUN of a session."""


def note_change(statistics: Statistics, node: Node, data: bytes) -> None:
    """Something was written to the tree: the event has no more of it than everybody may know.

    Parameters of a command may be secrets, as in ``add_attribute IncomingUser NAME SECRET``; what
    goes before them is not. So is the value of a file that everybody may read.
    """
    text = decode(data).strip()
    if node.name == secrets_written.MGMT:
        text = secrets_written.shown_command(text, _SHOWN_WORDS)
    elif secrets_written.is_private(node.mode):
        text = "(not shown)"
    statistics.note("configuration", f"{node.path}: {text}")
