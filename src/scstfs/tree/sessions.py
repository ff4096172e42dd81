"""Rows of all sessions, for all drivers: counters, latencies, LUNs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from scstfs.core import latency
from scstfs.core.counters import DIRECTIONS, DirectionCounter
from scstfs.core.session import Session, TgtDev
from scstfs.sysfs.attr import Attr, raw
from scstfs.sysfs.directory import DirType, Each, Link, Sub
from scstfs.sysfs.entry import Entry, itself
from scstfs.sysfs.values import anything
from scstfs.tree import measurements, paths
from scstfs.tree.naming import Numbered, number_in, numbered
from scstfs.tree.protection_counters import checks_failed


class Counter(NamedTuple):
    """One of the quantities that are counted per data direction."""

    suffix: str
    field: str
    shift: int
    reads: str
    since: str

    def applies_to(self, direction: str) -> bool:
        """Commands without data, or of unknown direction, transfer nothing that is counted."""
        return self.field == "cmds" or direction not in ("none", "unknown")


COUNTERS: Final = (
    Counter("cmd_count", "cmds", 0, "commands that ended", "2.1"),
    Counter("io_count_kb", "io_bytes", 10, "KiB that they transferred", "2.1"),
    Counter("unaligned_cmd_count", "unaligned", 0, "those not aligned to 4 KiB", "3.1"),
)


def _counter(direction: str, counter: Counter) -> Attr[Session, None]:
    def column(session: Session) -> DirectionCounter:
        return session.counters.of(direction)

    return Attr(
        name=f"{direction}_{counter.suffix}",
        mode=0o644,
        show=lambda session: str(getattr(column(session), counter.field) >> counter.shift),
        parse=anything,
        store=lambda session, value: column(session).reset(),
        since=counter.since,
        reads=counter.reads,
        accepts="anything",
        effect="all counters of this direction start from zero",
    )


# LUNs of a session


def _thread_ids(tgt_dev: TgtDev) -> str:
    # Threads are made when first needed; until then the event loop's thread does all the work.
    return " ".join(map(str, tgt_dev.pool.thread_ids or [os.getpid()]))


def _is_protected(tgt_dev: TgtDev) -> bool:
    return tgt_dev.session.target.carries_protection and tgt_dev.device.is_protected


TGT_DEV: Final[DirType[TgtDev]] = DirType(
    "LUN of a session",
    (
        Attr(
            name="active_commands",
            mode=0o444,
            show=lambda tgt_dev: str(len(tgt_dev.commands)),
            since="2.0",
            reads="commands of this session and LUN that are under way",
        ),
        Attr(
            name="thread_index",
            mode=0o444,
            show=lambda tgt_dev: str(tgt_dev.thread_index),
            since="3.3",
            reads="which of the device's own thread pools serves the LUN, -1 for a shared one",
        ),
        Attr(
            name="thread_pid",
            mode=0o444,
            show=_thread_ids,
            since="3.1",
            reads="thread identifiers of the pool, newest first",
        ),
        checks_failed(queued=False, visible=_is_protected),
    ),
    measurements.LUN,
)


def _find_tgt_dev(session: Session, name: str) -> TgtDev | None:
    number = number_in(name, "lun")
    return None if number is None else session.tgt_devs.get(number)


# Latencies


def _clear_latency(session: Session, _value: None) -> None:
    session.latency.clear()


def _latency(kind: str, size: int) -> Attr[Session, None]:
    return Attr(
        name=f"{kind}{size}",
        mode=0o644,
        show=lambda session: session.latency.text(kind, size),
        render=raw,
        parse=anything,
        store=_clear_latency,
        since="3.3",
        reads="count, extremes, average and standard deviation (us) of the times that commands of "
        "this direction (none, read, write, both) and size (bytes) spent in each state, while "
        "measure_latency is 1",
        accepts="anything",
        effect="all of the session's latency files start from zero",
    )


_LATENCY: Final[DirType[Session]] = DirType(
    "latency", tuple(_latency(kind, size) for kind in latency.KINDS for size in latency.SIZES)
)


# The session


def _close(session: Session, _value: None) -> None:
    session.transport.close()


FORCE_CLOSE: Final[Attr[Session, None]] = Attr(
    name="force_close",
    mode=0o200,
    parse=anything,
    store=_close,
    accepts="anything",
    effect="the session is closed from this side",
    since="2.0",
)
"""A row for drivers whose sessions can be closed from this side."""

_ATTRIBUTES: Final[tuple[Attr[Session, Any], ...]] = (
    Attr(
        name="initiator_name",
        mode=0o444,
        show=lambda session: session.initiator_name,
        since="2.0",
        reads="the initiator's name",
    ),
    Attr(
        name="commands",
        mode=0o444,
        show=lambda session: str(session.command_count),
        since="2.0",
        reads="commands of the session that exist, in any phase",
    ),
    Attr(
        name="active_commands",
        mode=0o444,
        show=lambda session: str(
            sum(len(tgt_dev.commands) for tgt_dev in session.tgt_devs.values())
        ),
        since="2.0",
        reads="commands that are under way at a device",
    ),
    *(
        _counter(direction, counter)
        for direction in DIRECTIONS
        for counter in COUNTERS
        if counter.applies_to(direction)
    ),
)


def _no_connections(_session: Session) -> Iterable[tuple[str, str]]:
    return ()


def session_type(
    name: str,
    rows: tuple[Entry[Session], ...],
    connections: Callable[[Session], Iterable[tuple[str, str]]] = _no_connections,
) -> DirType[Session]:
    """The type of a driver's sessions, with its own *rows*.

    *connections* have the initiator's address and the portal.
    """
    common: tuple[Entry[Session], ...] = (
        *_ATTRIBUTES,
        Sub(name="latency", dirtype=_LATENCY, of=itself, about="how long commands take"),
        Link(
            name="luns",
            target=lambda session: paths.luns(session.acg),
            about="to the LUN set that the initiator sees",
        ),
        Each(
            children=lambda session: Numbered(session.tgt_devs, "lun"),
            follows=lambda session: session.tgt_devs,
            named=numbered("lun"),
            get=_find_tgt_dev,
            dirtype=TGT_DEV,
            label="lunN",
            about="a LUN of the session",
        ),
    )
    return DirType(name, (*common, *rows), measurements.session_text(connections))
