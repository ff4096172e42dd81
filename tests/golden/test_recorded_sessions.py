"""The recording of a kernel initiator's sessions, replayed with some that have no connection."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio

from scstfs.core.session import Session
from scstfs.drivers.iscsi.config import IscsiDriver
from scstfs.iscsi.negotiate import SessionParameters
from tests.support.machine import need_machine, on_recorded_machine
from tests.support.recordings import (
    SCSI_DEVICES,
    SCST_USER,
    Record,
    differences,
    load,
    scenario,
)
from tests.support.replay import Replay
from tests.support.sessions import close_session, open_session
from tests.support.whole import whole

TARGET = "iqn.2006-10.net.vlnb:tgt1"

# What open-iscsi and SCST agreed on.
NEGOTIATED = SessionParameters(
    initial_r2t=0,
    immediate_data=1,
    max_recv_data_segment_length=1048576,
    max_xmit_data_segment_length=262144,
    max_burst_length=1048576,
    first_burst_length=65536,
    max_outstanding_r2t=1,
)

# The initiator's machine is the target's: its kernel's disks show there.
LEFT_OUT = [SCST_USER, SCSI_DEVICES]


class Initiator:
    """Does what the shell commands of the scenario make open-iscsi do."""

    def __init__(self, driver: IscsiDriver) -> None:
        self._driver = driver
        self._name = "iqn.2020-01.test:plain"
        self._session: Session | None = None

    async def shell(self, command: str) -> Record:
        if "test:special" in command:
            self._name = "iqn.2020-01.test:special"
        if "--login" in command:
            self._log_in()
        if "--logout" in command and self._session is not None:
            close_session(self._session)
        return {"rc": 0, "out": "", "err": ""}

    def _log_in(self) -> None:
        session, nexus = open_session(self._driver.targets[TARGET], self._name, NEGOTIATED)
        nexus.on_close = partial(self._come_back, session)
        self._session = session

    def _come_back(self, lost: Session) -> None:
        # The initiator is there again before the target has got rid of the old session.
        self._log_in()
        close_session(lost)


async def replay() -> list[str]:
    async with whole(Path("/var/lib/scst")) as everything:
        initiator = Initiator(everything.iscsi)
        actual = await Replay(everything.tree, initiator.shell).run(scenario("10_sessions"))
    return differences(load("10_sessions"), actual, LEFT_OUT)


@pytest.mark.slow
def test_sessions_show_as_recorded() -> None:
    need_machine()

    def body() -> None:
        found = trio.run(replay)
        assert not found, "\n".join(found[:60])

    on_recorded_machine(body)
