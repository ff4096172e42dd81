from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from scstfs.admin.top.rates import NOTHING, Rates
from scstfs.admin.top.report import Order, Page, Report, View, make
from scstfs.admin.top.top_text import amount, duration, render
from scstfs.admin.top.watched_session import LunSeen, Seen, SessionPlace

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@given(st.floats(0, 1e17))
def test_amounts_have_five_characters_at_most(value: float) -> None:
    assert len(amount(value)) <= 5
    assert len(amount(value, 1024)) <= 5


def test_amounts() -> None:
    words = [amount(v) for v in (0, 0.5, 7, 99.94, 99.96, 999.4, 999.6, 12345, 99_960, 1.2e6)]
    assert words == ["0", "0.5", "7", "99.9", "100", "999", "1.0k", "12.3k", "100k", "1.2M"]
    assert amount(1536, 1024) == "1.5k"


@given(st.floats(0, 9e9))
def test_durations_have_six_characters_at_most(microseconds: float) -> None:
    assert len(duration(microseconds)) <= 6


def test_durations() -> None:
    words = [duration(v) for v in (None, 0.4, 85, 999.6, 1234, 99_960, 3.4e6)]
    assert words == ["-", "0us", "85us", "1.0ms", "1.2ms", "100ms", "3.4s"]


def sessions(count: int, name: str) -> Report:
    rates = Rates(123_456, 99_999, 5, 1e9, 2e9)
    luns = (LunSeen(0, "disk0", 7.25, 7.0), LunSeen(16383, "disk1", 0.5, 1.0))
    seen = [
        Seen(
            SessionPlace(
                "iscsi", "iqn.2005-03.org.example:a.target.with.a.name", f"{name}_{number}"
            ),
            rates if number < count // 2 else NOTHING,
            32.5,
            luns,
            12345.6,
            1e6,
        )
        for number in range(count)
    ]
    return make(seen, WHEN, 2.0, True)


def one_busy(idle: int) -> Report:
    """A busy session, and idle ones."""
    names = [f"i{number}" for number in range(idle + 1)]
    seen = [
        Seen(
            SessionPlace("iscsi", "iqn.x", name),
            NOTHING if number else Rates(1, 2, 3, 4, 5),
            0,
            (),
            None,
            None,
        )
        for number, name in enumerate(names)
    ]
    return make(seen, WHEN, 2.0, True)


@given(
    st.sampled_from(View),
    st.integers(60, 200),
    st.sampled_from(["iqn.1993-08.org.debian:01", "名前" * 20, "x"]),
)
def test_lines_fit_the_terminal(view: View, width: int, name: str) -> None:
    page = Page(view, Order.COMMANDS, all=True, width=width, height=24)
    lines = render(sessions(100, name), page, "/sys/kernel/scst_tgt")
    assert len(lines) <= 24
    rows = [line.plain for line in lines if line.style == ""]
    assert rows
    assert all(cell_len(line) == width for line in rows)


def test_names_keep_what_distinguishes_them() -> None:
    page = Page(View.SESSIONS, Order.COMMANDS, width=80, height=24)
    lines = [line.plain for line in render(sessions(4, "iqn.1993-08.org.debian:01"), page, "/t")]
    assert lines[0].startswith("03:04:05  4 sessions  247k r/s")
    assert lines[2].startswith("…me iqn.1993-08.org.debian:01_0 ")
    assert lines[2].endswith("123k   100k   954M   1.9G   32.5 12.3ms   1.0s")


def test_the_rest_is_counted() -> None:
    page = Page(View.SESSIONS, Order.COMMANDS, width=80, height=10)
    lines = render(sessions(1000, "i"), page, "/t")
    assert lines[-1].plain == "and 993 more that do less"
    assert len(lines) == 10
    lines = render(one_busy(idle=5), page, "/t")
    assert lines[-1].plain == "and 5 idle"
    lines = render(one_busy(idle=5), page._replace(height=3), "/t")
    assert lines[-1].plain == "1 more that does less, 5 idle"
    lines = render(one_busy(idle=5), page._replace(all=True), "/t")
    assert len(lines) == 2 + 1 + 5


@pytest.mark.parametrize("is_busy", [True, False])
def test_the_copy_manager_is_there_only_when_it_copies(is_busy: bool) -> None:
    rates = Rates(1, 2, 3, 4, 5) if is_busy else NOTHING
    place = SessionPlace("copy_manager", "copy_manager_tgt", "copy_manager_sess")
    report = make([Seen(place, rates, 0, (), None, None)], WHEN, 2.0, True)
    for view in View.SESSIONS, View.TARGETS:
        lines = [line.plain for line in render(report, Page(view, Order.BYTES), "/t")]
        assert "  0 sessions  " in lines[0]
        assert len(lines) == 2 + is_busy
        everything = render(report, Page(view, Order.BYTES, all=True), "/t")
        assert "copy_manager" in everything[-1].plain


def test_without_a_terminal_names_are_whole() -> None:
    page = Page(View.SESSIONS, Order.COMMANDS)
    lines = [line.plain for line in render(sessions(4, "i" * 300), page, "/t")]
    assert sum("i" * 300 in line for line in lines) == 4


def test_estimates_are_marked_and_explained() -> None:
    lines = [line.plain for line in render(sessions(4, "i"), Page(View.DEVICES, Order.BYTES), "/t")]
    assert "~" in lines[2]
    assert lines[-1].startswith("~ and -: ")


def test_it_says_how_to_have_times() -> None:
    report = make([], WHEN, 2.0, False)
    lines = [line.plain for line in render(report, Page(View.TARGETS, Order.BYTES), "/t")]
    assert "echo 1 >/t/measure_latency" in lines[1]
    assert lines[0].startswith("03:04:05  0 sessions  0 r/s")
