"""The metrics that there are thousands of, those of sessions and their LUNs, as text.

prometheus_client looks at each label of each sample, which takes a second for a thousand sessions.
Here the labels of a session are written once and kept. The lines are the same in the formats of
Prometheus and of OpenMetrics; only the names of counters in their headings differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from scstfs.exporter.reading import LunReading, SessionReading

DIRECTIONS: Final = {"read": "read", "write": "write", "none": "none", "bidi": "both"}
_OMITTED: Final = "scst_luns_omitted"


def escaped(text: str) -> str:
    """A label's value, as both formats want it; bytes that are no UTF-8 are replaced."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return escaped.encode(errors="replace").decode()


class MassSamples:
    """Writes them; keeps what stays the same from one time to the next."""

    def __init__(self, most_luns: int) -> None:
        """List at most so many LUNs of sessions."""
        self._most_luns = most_luns
        self._sessions: dict[str, str] = {}

    def text(self, sessions: Iterable[SessionReading], *, open_metrics: bool) -> str:
        """All lines with their headings."""
        sessions = list(sessions)
        labels = {session.path: self._labels(session) for session in sessions}
        self._sessions = labels  # those of sessions that are gone are forgotten
        suffix = "" if open_metrics else "_total"
        lines: list[str] = []
        for name, kind, text, made in (
            (f"scst_session_commands{suffix}", "counter", "Commands that ended", _commands),
            (f"scst_session_bytes{suffix}", "counter", "Data of commands", _bytes),
            ("scst_session_queue_depth", "gauge", "Commands under way", _depth),
        ):
            lines += _heading(name, kind, text)
            for session in sessions:
                lines += made(session, labels[session.path])
        lines += self._luns(sessions, labels)
        return "\n".join(lines) + "\n"

    def _labels(self, session: SessionReading) -> str:
        known = self._sessions.get(session.path)
        if known is not None:
            return known
        return (
            f'driver="{escaped(session.driver)}",session="{escaped(session.name)}",'
            f'target="{escaped(session.target)}"'
        )

    def _luns(self, sessions: Iterable[SessionReading], labels: dict[str, str]) -> Iterator[str]:
        found = [
            (f'{labels[session.path]},lun="{lun.lun}",device="{escaped(lun.device)}"', lun)
            for session in sessions
            for lun in session.luns or ()
        ]
        listed = found[: self._most_luns]
        text = "From the arrival of a command to its answer"
        yield from _heading("scst_lun_command_seconds", "summary", text)
        yield from (line for label, lun in listed for line in _times(lun, label))
        yield from _heading("scst_lun_queue_depth", "gauge", "Commands under way")
        yield from (f"scst_lun_queue_depth{{{label}}} {lun.active}" for label, lun in listed)
        text = "LUNs of sessions that are not listed because there are too many"
        yield from _heading(_OMITTED, "gauge", text)
        yield f"{_OMITTED} {len(found) - len(listed)}"


def _heading(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _commands(session: SessionReading, labels: str) -> Iterator[str]:
    for direction, (commands, _) in session.counters.items():
        shown = DIRECTIONS.get(direction, direction)
        yield f'scst_session_commands_total{{{labels},direction="{shown}"}} {commands}'


def _bytes(session: SessionReading, labels: str) -> Iterator[str]:
    for direction, (_, size) in session.counters.items():
        if size:
            shown = DIRECTIONS.get(direction, direction)
            yield f'scst_session_bytes_total{{{labels},direction="{shown}"}} {size}'


def _depth(session: SessionReading, labels: str) -> Iterator[str]:
    yield f"scst_session_queue_depth{{{labels}}} {session.commands}"


def _times(lun: LunReading, labels: str) -> Iterator[str]:
    for kind, (count, total) in lun.times.items():
        yield f'scst_lun_command_seconds_count{{{labels},operation="{kind}"}} {count}'
        yield f'scst_lun_command_seconds_sum{{{labels},operation="{kind}"}} {total!r}'
