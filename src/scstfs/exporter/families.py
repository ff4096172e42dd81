"""The metrics, as Prometheus wants them: names, units, labels.

The number of time series is bounded: histograms are by device, in few buckets. What there is of
each session and its LUNs is in `mass_samples`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from scstfs.exporter.reading import DeviceReading, Reading, SessionReading

BOUNDS: Final = (
    *(0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
"""Upper bounds of the buckets (seconds)."""

_SPANS: Final = (
    ("total", "scst_device_command_seconds", "From the arrival of a command to its answer"),
    ("first_data", "scst_device_first_data_seconds", "From the arrival of a read to its data"),
    ("back_end", "scst_device_back_end_seconds", "Part of a command's time in the back end"),
)

# What an outcome is; all others are sense keys.
_STATUSES: Final = frozenset(
    {
        "busy",
        "condition_met",
        "reservation_conflict",
        "task_set_full",
        "aca_active",
        "task_aborted",
        "no_answer",
    }
)

_COUNTS: Final = (
    ("logins_refused", "scst_logins_refused", "Refused logins", "reason"),
    ("digest_errors", "scst_digest_errors", "Wrong digests of iSCSI PDUs", "part"),
    (
        "functions",
        "scst_task_management_functions",
        "Task management functions that initiators sent: aborts and resets",
        "function",
    ),
)

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def families(reading: Reading | None) -> Iterator[Metric]:
    """All metrics of a look at the tree; None if there is no tree."""
    yield GaugeMetricFamily("scst_up", "Whether SCST runs", float(reading is not None))
    if reading is None:
        return
    yield from _target(reading)
    yield from _configured(reading)
    yield from _sessions(reading.sessions)
    yield from _devices(reading.devices.values())
    took = "How long it took to read the tree"
    yield GaugeMetricFamily("scst_scrape_duration_seconds", took, reading.took)


def _target(reading: Reading) -> Iterator[Metric]:
    core, told = reading.overview.core, reading.told
    build = {"version": core.version or "", "build": core.build or ""}
    yield InfoMetricFamily("scst", "What serves the tree", build)
    suspended = "How many times the execution of commands is suspended"
    yield GaugeMetricFamily("scst_suspended", suspended, core.suspended)
    if told is None:
        return
    start = "Start of the target since the epoch"
    yield GaugeMetricFamily("scst_start_time_seconds", start, told["started"])
    yield GaugeMetricFamily("scst_worker_threads", "Threads for blocking work", told["threads"])
    if told.get("engine"):
        engine, under_way = told["engine"]
        yield InfoMetricFamily("scst_engine", "What executes disk I/O", {"engine": engine})
        requests = "Requests that disks have"
        yield GaugeMetricFamily("scst_engine_queue_depth", requests, under_way)
    for group, name, text, label in _COUNTS:
        counter = CounterMetricFamily(name, text, labels=(label,))
        for value, count in told["counts"][group].items():
            counter.add_metric((value,), count)
        yield counter
    yield from _process(told["pid"])


def _process(pid: int) -> Iterator[Metric]:
    """Resources of the target's process, if it is in a process namespace that can be seen."""
    place = Path("/proc", str(pid))
    try:
        fields = (place / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return
    seconds = (int(fields[11]) + int(fields[12])) / _TICKS
    yield CounterMetricFamily("scst_process_cpu_seconds", "CPU time of the target", seconds)
    memory = "Resident memory of the target"
    yield GaugeMetricFamily("scst_process_resident_memory_bytes", memory, int(fields[21]) * _PAGE)
    yield GaugeMetricFamily("scst_process_threads", "Threads of the target", int(fields[17]))
    try:
        files = len(os.listdir(place / "fd"))
    except OSError:  # a process that gave up privileges shows them only to root
        return
    yield GaugeMetricFamily("scst_process_open_fds", "Open files of the target", files)


def _configured(reading: Reading) -> Iterator[Metric]:
    overview = reading.overview
    problems = GaugeMetricFamily("scst_problems", "What `scstfs status` reports", labels=("code",))
    codes = [problem.code for problem in overview.problems or ()]
    for code in sorted(set(codes)):
        problems.add_metric((code,), codes.count(code))
    yield problems
    by_target = ("driver", "target")
    enabled = GaugeMetricFamily(
        "scst_target_enabled", "Whether logins are accepted", labels=by_target
    )
    for target in overview.targets or ():
        if target.enabled is not None:
            enabled.add_metric((target.driver, target.name), target.enabled)
    yield enabled
    size = GaugeMetricFamily("scst_device_size_bytes", "Size of a device", labels=("device",))
    active = GaugeMetricFamily("scst_device_active", "Whether its file is open", labels=("device",))
    blocked = GaugeMetricFamily(
        "scst_device_blocked", "How often it is blocked", labels=("device",)
    )
    missing = GaugeMetricFamily(
        "scst_device_file_missing", "Whether its file is missing or silent", labels=("device",)
    )
    for device in overview.devices or ():
        label = (device.name,)
        blocked.add_metric(label, device.blocked)
        if device.size is not None:
            size.add_metric(label, device.size)
        if device.active is not None:
            active.add_metric(label, device.active)
        if device.file_state is not None:
            missing.add_metric(label, device.file_state != "present")
    yield from (size, active, blocked, missing)
    state = GaugeMetricFamily(
        "scst_target_group_state",
        "1 for the asymmetric access state that a target group has",
        labels=("device_group", "target_group", "state"),
    )
    for group in overview.device_groups or ():
        for ports in group.target_groups:
            state.add_metric((group.name, ports.name, ports.state), 1)
    yield state


def _sessions(sessions: Iterable[SessionReading]) -> Iterator[Metric]:
    count = GaugeMetricFamily("scst_sessions", "Sessions", labels=("driver", "target"))
    for target, number in Counter((s.driver, s.target) for s in sessions).items():
        count.add_metric(target, number)
    yield count


def _devices(devices: Iterable[DeviceReading]) -> Iterator[Metric]:
    devices = list(devices)
    depth = GaugeMetricFamily("scst_device_queue_depth", "Commands under way", labels=("device",))
    errors = CounterMetricFamily(
        "scst_device_errors", "Commands with sense data, by its key", labels=("device", "sense_key")
    )
    statuses = CounterMetricFamily(
        "scst_device_failures",
        "Commands that ended otherwise than well and without sense data",
        labels=("device", "status"),
    )
    reserved = GaugeMetricFamily(
        "scst_device_reserved", "1 while it is reserved", labels=("device", "type")
    )
    registrants = GaugeMetricFamily(
        "scst_device_registrants", "Registered nexuses", labels=("device",)
    )
    for device in devices:
        depth.add_metric((device.name,), device.active)
        for outcome, count in device.outcomes.items():
            family = statuses if outcome in _STATUSES else errors
            family.add_metric((device.name, outcome), count)
        reservation = device.reservation or {}
        registrants.add_metric((device.name,), reservation.get("registrants", 0))
        if reservation.get("type") is not None:
            reserved.add_metric((device.name, str(reservation["type"]).lower()), 1)
    yield from (depth, errors, statuses, reserved, registrants)
    names = [*map(floatToGoString, BOUNDS), "+Inf"]
    for span, name, text in _SPANS:
        times = HistogramMetricFamily(name, text, labels=("device", "operation"))
        for device in devices:
            for (kind, of_span), found in device.times.items():
                if of_span == span:
                    buckets = list(zip(names, found.cumulated(BOUNDS), strict=True))
                    times.add_metric((device.name, kind), buckets, found.total)
        yield times
