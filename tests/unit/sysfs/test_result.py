from __future__ import annotations

import errno

import pytest
import trio

from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.result import ManagementResult


def test_it_reads_0_before_anything_ran() -> None:
    assert ManagementResult().show() == "0"


def test_a_refusal_is_kept_until_the_next_outcome_and_reading_does_not_clear_it() -> None:
    result = ManagementResult()
    with pytest.raises(SysfsError), result.recording():
        raise SysfsError(errno.EEXIST, "twice")
    assert [result.show(), result.show()] == ["-17", "-17"]
    with result.recording():
        pass
    assert result.show() == "0"


def test_it_cannot_be_read_while_any_command_runs() -> None:
    result = ManagementResult()
    with result.recording():
        with result.recording():
            pass
        with pytest.raises(SysfsError) as error:
            result.show()
        assert error.value.errno == errno.EAGAIN
        assert not error.value.reason
    assert result.show() == "0"


def test_a_bug_counts_as_an_i_o_error() -> None:
    result = ManagementResult()
    with pytest.raises(ZeroDivisionError), result.recording():
        print(1 // 0)
    assert result.show() == "-5"
    assert result.pending == 0


def test_a_cancelled_command_leaves_the_last_result() -> None:
    result = ManagementResult()
    result.value = -22

    async def run() -> None:
        with trio.CancelScope() as scope, result.recording():
            scope.cancel()
            await trio.sleep_forever()

    trio.run(run)
    assert (result.show(), result.pending) == ("-22", 0)
