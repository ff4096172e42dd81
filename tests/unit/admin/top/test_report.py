from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from scstfs.admin.top.rates import NOTHING, Rates
from scstfs.admin.top.report import Order, Report, Row, View, make
from scstfs.admin.top.watched_session import LunSeen, Seen, SessionPlace

BUSY = Rates(100, 50, 10, 4e6, 2e6)
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def seen(
    name: str,
    rates: Rates = NOTHING,
    luns: tuple[LunSeen, ...] = (),
    depth: float = 0.0,
    read_us: float | None = None,
    target: str = "tgt",
) -> Seen:
    return Seen(SessionPlace("iscsi", target, name), rates, depth, luns, read_us, None)


def report(*sessions: Seen) -> Report:
    return make(sessions, WHEN, 2.0, True)


def row(made: Report, view: View, **name: str | int) -> Row:
    (found,) = [row for row in made.rows[view] if name.items() <= row.name.items()]
    return found


def test_the_only_lun_of_a_session_did_it_all() -> None:
    made = report(seen("a", BUSY, (LunSeen(0, "disk", 3.0, 0.0),), 3.0, 80.0))
    for view in View:
        (only,) = made.rows[view]
        assert (only.rates, only.depth, only.read_us) == (BUSY, 3.0, 80.0)
        assert not only.is_estimated
    assert row(made, View.LUNS, lun=0, device="disk", session="a")


def test_several_luns_share_by_depth() -> None:
    luns = (LunSeen(0, "disk", 3.0, 3.0), LunSeen(1, "tape", 1.0, 1.0))
    made = report(seen("a", BUSY, luns, 4.0, 80.0))
    for view in (View.LUNS, View.DEVICES):
        disk, tape = row(made, view, device="disk"), row(made, view, device="tape")
        assert (disk.rates, tape.rates) == (BUSY.times(0.75), BUSY.times(0.25))
        assert (disk.depth, tape.depth) == (3.0, 1.0)
        assert disk.is_estimated
        assert disk.read_us is None
    assert not row(made, View.SESSIONS, session="a").is_estimated
    assert made.total.rates == BUSY


def test_where_nothing_was_seen_under_way_nothing_is_made_up() -> None:
    luns = (LunSeen(0, "disk", 0.0, 0.0), LunSeen(1, "tape", 0.0, 0.0))
    alone = (LunSeen(0, "disk", 0.0, 0.0),)
    made = report(seen("a", BUSY, luns), seen("b", BUSY, alone))
    assert row(made, View.LUNS, lun=0, session="a").rates is None
    assert row(made, View.LUNS, lun=0, session="b").rates == BUSY
    assert row(made, View.DEVICES, device="disk").rates is None
    assert not row(made, View.DEVICES, device="disk").is_idle


def test_idle_sessions_are_known_to_be_idle() -> None:
    luns = (LunSeen(0, "disk", 0.0, 5.0), LunSeen(1, "tape", 0.0, 0.0))
    made = report(seen("a", NOTHING, luns))
    assert all(row.is_idle and not row.is_estimated for row in made.rows[View.LUNS])


def test_a_command_that_hangs_is_not_idle() -> None:
    made = report(seen("a", NOTHING, (LunSeen(0, "disk", 1.0, 1.0),), 1.0))
    assert not any(row.is_idle for view in View for row in made.rows[view])


def test_latencies_of_several_are_weighted() -> None:
    alone = (LunSeen(0, "disk", 0.0, 0.0),)
    first = seen("a", Rates(reads=300), alone, read_us=100.0)
    second = seen("b", Rates(reads=100), alone, read_us=500.0)
    assert report(first, second).total.read_us == pytest.approx(200.0)
    unknown = seen("c", Rates(reads=1), alone)
    assert report(first, unknown).total.read_us is None
    assert report(first, seen("d", Rates(writes=5), alone)).total.read_us == 100.0


@pytest.mark.parametrize(
    ("order", "names"),
    [
        (Order.COMMANDS, ["many", "big", "deep", "slow"]),
        (Order.BYTES, ["big", "deep", "many", "slow"]),
        (Order.DEPTH, ["deep", "big", "many", "slow"]),
        (Order.LATENCY, ["slow", "big", "deep", "many"]),
    ],
)
def test_orders(order: Order, names: list[str]) -> None:
    made = report(
        seen("deep", depth=9.0),
        seen("big", Rates(reads=10, read_bytes=1e9)),
        seen("slow", read_us=1e6),
        seen("many", Rates(reads=1000)),
    )
    assert [row.name["session"] for row in made.ordered(View.SESSIONS, order)] == names


def test_json_leaves_out_what_is_idle() -> None:
    made = report(seen("a", BUSY), seen("b"), seen("c", target="other"))
    data = json.loads(json.dumps(made.json(Order.COMMANDS, idle=False)))
    assert data["time"] == "2026-01-02T03:04:05.000+00:00"
    assert [row["session"] for row in data["sessions"]] == ["a"]
    assert [row["target"] for row in data["targets"]] == ["tgt"]
    whole = made.json(Order.COMMANDS, idle=True)
    assert [row["session"] for row in whole["sessions"]] == [
        "a",
        "c",
        "b",
    ]  # by target, then by name
    assert data["total"]["reads_per_second"] == 100.0
