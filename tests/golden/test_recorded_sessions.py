"""The recording of a kernel initiator's sessions, replayed on the mount with our own initiator."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
import trio

from tests.support.initiator import Initiator
from tests.support.machine import need_machine, on_recorded_machine
from tests.support.recordings import Record, differences, load, scenario
from tests.support.replay import Replay
from tests.support.replay_mount import LEFT_OUT, MountedFiles, daemon, portal

SCENARIO: Final = "10_sessions"
TARGET: Final = "iqn.2006-10.net.vlnb:tgt1"

#: What open-iscsi offers.
OFFERS: Final = (("MaxBurstLength", "16776192"), ("FirstBurstLength", "262144"))
ISID: Final = bytes.fromhex("00023d000001")
READ: Final = "88000000000000000000000000800000"
READ_SIZE: Final = 64 << 10


class OpenIscsi:
    """Does what the shell commands of the scenario make open-iscsi do."""

    def __init__(self, host: str, port: int) -> None:
        self._portal = host, port
        self._name = "iqn.2020-01.test:plain"
        self._session: Initiator | None = None
        self._lost: Initiator | None = None

    async def shell(self, command: str) -> Record:
        if "test:special" in command:
            self._name = "iqn.2020-01.test:special"
        if "--login" in command:
            self._session = self._log_in(ISID)
        if command.startswith("dd "):
            self._read()
        if "--logout" in command and self._session is not None:
            self._session.logout()
            self.close()
        return {"rc": 0, "out": "", "err": ""}

    def _log_in(self, isid: bytes) -> Initiator:
        session = Initiator.connect(*self._portal, name=self._name, isid=isid)
        session.login(TARGET, keys=OFFERS)
        return session

    def _read(self) -> None:
        """A MiB, as dd does."""
        assert self._session is not None
        # The unit attention of the new nexus.
        self._session.command("000000000000")
        for _ in range(16):
            assert self._session.command(READ, expect=READ_SIZE).data == bytes(READ_SIZE)

    def come_back(self) -> None:
        """Be there again before the target has got rid of the old session.

        With the ISID of that one the new session would be without a LUN until it is gone.
        """
        self._lost = self._session
        self._session = self._log_in(ISID[:-1] + b"\2")

    def expect_close(self) -> None:
        """The target closes the old session's connection."""
        assert self._lost is not None
        self._lost.wait_closed()
        self._lost.close()

    def close(self) -> None:
        """Give up the connection."""
        if self._session is not None:
            self._session.close()
            self._session = None


class Files(MountedFiles):
    """Whoever loses a session to ``force_close`` is quick to log in again."""

    def __init__(self, root: Path, initiator: OpenIscsi) -> None:
        super().__init__(root)
        self._initiator = initiator

    async def write(self, path: str, data: bytes) -> Record:
        """See tests.support.replay.Files."""
        is_close = path.endswith("/force_close")
        if is_close:
            self._initiator.come_back()
        outcome = await super().write(path, data)
        if is_close:
            self._initiator.expect_close()
        return outcome


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_sessions_show_as_recorded() -> None:
    need_machine()

    def body() -> None:
        with daemon() as running:
            initiator = OpenIscsi(*portal(running))
            replay = Replay(Files(running.path, initiator), initiator.shell)
            actual = trio.run(replay.run, scenario(SCENARIO))
            initiator.close()
        found = differences(load(SCENARIO), actual, LEFT_OUT)
        assert not found, "\n".join(found[:60])

    on_recorded_machine(body)
