"""A live target for the tests of a module, and initiators that must have nothing to complain of."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.support.initiator import Initiator
from tests.support.iscsi_login import ISID, NAME
from tests.support.live_target import TARGET, LiveTarget

#: Initiator ports are used once, so that no test meets a session that another one has left.
_numbers = itertools.count(1)

LogIn: TypeAlias = Callable[..., Initiator]
Connect: TypeAlias = Callable[..., Initiator]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What initiators provoke is logged at a limited rate, over all tests of a process."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.logs("similar messages suppressed"))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveTarget]:
    """A target with two disks of 4 MiB."""
    with LiveTarget(tmp_path_factory.mktemp("live")) as live:
        live.add_target(luns=2)
        yield live


@pytest.fixture
def initiators() -> Iterator[list[Initiator]]:
    """Initiators of a test; at its end they are closed and their complaints checked."""
    opened: list[Initiator] = []
    yield opened
    for initiator in opened:
        initiator.close()
    assert [complaint for initiator in opened for complaint in initiator.complaints] == []


@pytest.fixture
def connect(live: LiveTarget, initiators: list[Initiator]) -> Connect:
    """Make a connection of a new initiator port, which has not logged in."""

    def connect(**options: Any) -> Initiator:
        number = next(_numbers)
        options.setdefault("name", f"{NAME}{number}")
        options.setdefault("isid", ISID[:3] + number.to_bytes(3, "big"))
        initiator = live.initiator(**options)
        initiators.append(initiator)
        return initiator

    return connect


@pytest.fixture
def log_in(live: LiveTarget, connect: Connect) -> LogIn:
    """Log a new initiator port in; the power-on unit attentions have been taken.

    Options are those of ``Initiator.login``; ``target`` is the usual one unless given.
    """

    def log_in(target: str | None = TARGET, **options: Any) -> Initiator:
        initiator = connect()
        initiator.login(target, **options)
        if target is not None:
            for lun in live.target(target).default_acg.luns:
                initiator.command("000000000000", lun=lun)
        return initiator

    return log_in


@pytest.fixture
def initiator(log_in: LogIn) -> Initiator:
    """An initiator in full-feature phase."""
    return log_in()
