"""The activity of sessions as rows for sessions, LUNs, devices and targets.

The tree counts commands only by session. If a session has one LUN, its rates are the LUN's, too. If
it has several, its rates are divided among them in proportion to the commands seen under way, and
rows based on that are marked as estimated.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, Final, NamedTuple

from scstfs.admin.top.rates import NOTHING, Rates
from scstfs.admin.top.watched_session import LunSeen, Seen

SCHEMA: Final = 1
"""Of `Report.json`, which docs/management.md describes."""


class View(enum.Enum):
    """The objects of the rows."""

    SESSIONS = "sessions"
    LUNS = "luns"
    DEVICES = "devices"
    TARGETS = "targets"


class Order(enum.Enum):
    """The sort order."""

    COMMANDS = "commands"
    BYTES = "bytes"
    DEPTH = "depth"
    LATENCY = "latency"


@dataclass(slots=True)
class Row:
    """The activity of one object.

    Attributes:
        name: its names, by the kind of object.
        rates: None if the tree does not have them.
        depth: commands under way, on average.
        read_us, write_us: average latencies (us); None if unknown.
        is_estimated: whether `rates` is estimated.
    """

    name: dict[str, str | int]
    rates: Rates | None = NOTHING
    depth: float = 0.0
    read_us: float | None = None
    write_us: float | None = None
    is_estimated: bool = False

    @property
    def is_idle(self) -> bool:
        """Return whether it did nothing and has no commands."""
        return self.rates == NOTHING and not self.depth

    @property
    def slower_us(self) -> float:
        """The larger one of its latencies; 0 if none is known."""
        return max(self.read_us or 0.0, self.write_us or 0.0)

    def json(self) -> dict[str, Any]:
        """For json.dumps()."""
        rates = self.rates
        numbers = {
            **{
                f"{field}_per_second": None if rates is None else getattr(rates, field)
                for field in Rates._fields
            },
            "depth": self.depth,
            "read_latency_us": self.read_us,
            "write_latency_us": self.write_us,
        }
        rounded = {k: None if v is None else round(v, _DIGITS) for k, v in numbers.items()}
        return {**self.name, **rounded, "estimated": self.is_estimated}


_DIGITS: Final = 3

_ORDERS: Final[Mapping[Order, Callable[[Row], float]]] = {
    Order.COMMANDS: lambda row: (row.rates or NOTHING).commands,
    Order.BYTES: lambda row: (row.rates or NOTHING).bytes,
    Order.DEPTH: lambda row: row.depth,
    Order.LATENCY: lambda row: row.slower_us,
}


@dataclass(frozen=True, slots=True)
class Report:
    """The activity between two readings.

    Attributes:
        when: its end.
        seconds: its duration.
        is_measuring: the tree measures latencies.
        total: all sessions together.
        rows: of each view, in no particular order.
    """

    when: datetime
    seconds: float
    is_measuring: bool
    total: Row
    rows: Mapping[View, Sequence[Row]]

    def ordered(self, view: View, order: Order) -> list[Row]:
        """The rows of a view, largest first."""
        key = _ORDERS[order]
        return sorted(self.rows[view], key=lambda row: (-key(row), *map(str, row.name.values())))

    def json(self, order: Order, *, idle: bool) -> dict[str, Any]:
        """For json.dumps(); with or without the *idle* rows."""
        return {
            "schema": SCHEMA,
            "time": self.when.isoformat(timespec="milliseconds"),
            "seconds": round(self.seconds, _DIGITS),
            "measure_latency": self.is_measuring,
            "total": self.total.json(),
            **{
                view.value: [
                    row.json() for row in self.ordered(view, order) if idle or not row.is_idle
                ]
                for view in View
            },
        }


class Page(NamedTuple):
    """The form of a report.

    Attributes:
        view: the kind of rows.
        order: their order.
        all: idle rows, too.
        width: columns of the terminal; None for no limit.
        height: lines of the terminal; None for no limit.
    """

    view: View
    order: Order
    all: bool = False
    width: int | None = None
    height: int | None = None


def make(seen: Iterable[Seen], when: datetime, seconds: float, is_measuring: bool) -> Report:
    """The report of the *seconds* before *when*."""
    sessions: list[Row] = []
    luns: list[Row] = []
    targets: dict[tuple[str, str], list[Row]] = {}
    devices: dict[str, list[Row]] = {}
    for session in seen:
        driver, target, name = session.place
        row = Row(
            {"driver": driver, "target": target, "session": name},
            session.rates,
            session.depth,
            session.read_us,
            session.write_us,
        )
        sessions.append(row)
        targets.setdefault((driver, target), []).append(row)
        for lun in session.luns:
            of_lun = _lun(row, session, lun)
            luns.append(of_lun)
            devices.setdefault(lun.device, []).append(of_lun)
    return Report(
        when,
        seconds,
        is_measuring,
        _together({}, sessions),
        {
            View.SESSIONS: sessions,
            View.LUNS: luns,
            View.DEVICES: [_together({"device": d}, rows) for d, rows in devices.items()],
            View.TARGETS: [
                _together({"driver": driver, "target": target}, rows)
                for (driver, target), rows in targets.items()
            ],
        },
    )


def _lun(row: Row, session: Seen, lun: LunSeen) -> Row:
    """The part of its session's activity that a LUN has."""
    name = {**row.name, "lun": lun.lun, "device": lun.device}
    if len(session.luns) == 1:
        return Row(name, row.rates, lun.depth, row.read_us, row.write_us)
    if session.rates == NOTHING:
        return Row(name, NOTHING, lun.depth)
    weights = sum(other.weight for other in session.luns)
    rates = session.rates.times(lun.weight / weights) if weights else None
    return Row(name, rates, lun.depth, is_estimated=True)


def _together(name: dict[str, str | int], rows: Sequence[Row]) -> Row:
    known = [row.rates for row in rows if row.rates is not None]
    return Row(
        name,
        reduce(Rates.plus, known, NOTHING) if len(known) == len(rows) else None,
        sum(row.depth for row in rows),
        _average([((row.rates or NOTHING).reads, row.read_us) for row in rows]),
        _average([((row.rates or NOTHING).writes, row.write_us) for row in rows]),
        any(row.is_estimated for row in rows),
    )


def _average(parts: Sequence[tuple[float, float | None]]) -> float | None:
    """The average latency of commands at different rates; None if one is unknown."""
    rate = total = 0.0
    for each, latency in parts:
        if each:
            if latency is None:
                return None
            rate += each
            total += each * latency
    return total / rate if rate else None
