from __future__ import annotations

import signal

from scstfs.errors import ExitStatus, reason


def test_every_status_is_explained() -> None:
    *own, interrupted = (status.value for status in ExitStatus)
    assert own == list(range(len(own)))
    assert interrupted == 128 + signal.SIGINT
    assert all(status.meaning for status in ExitStatus)


def test_reasons_are_the_systems_words_only() -> None:
    assert reason(OSError(2, "No such file or directory", "/x")) == "No such file or directory"
    assert reason(OSError("odd")) == "odd"
