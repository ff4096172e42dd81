"""Nothing is lost and nothing is kept while connections break, and sessions and targets change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.storm import Plan, carry_out

MEMORY_SLACK = 24 << 20
"""Bytes: what pools keep for reuse that the calm before did not need."""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_storm_leaves_every_block_and_no_traces(tmp_path: Path) -> None:
    """The clients verify blocks; this checks the result."""
    plan = Plan(broken=160, reinstatements=16, toggles=30, warm_up_seconds=1, pause_seconds=0.01)
    report = carry_out(tmp_path, plan)
    assert report.broken == plan.broken
    assert report.reinstatements == plan.reinstatements
    assert report.toggles == plan.toggles
    # The load continued, and clients whose sessions were reinstated logged in again.
    assert report.operations > 200
    assert report.reconnects >= plan.reinstatements // 2
    assert report.descriptors_after == report.descriptors_before
    assert report.memory_after - report.memory_before < MEMORY_SLACK
