from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from scstfs.persist import calls
from scstfs.persist.running import RunningFile, TreeWrite
from scstfs.startup import keep
from scstfs.startup.keep import Keeper
from scstfs.startup.load import look, resume
from tests.support.admin import essence
from tests.support.whole import Whole, whole

ADD = ("handlers/vdisk_nullio/mgmt", "add_device {}\n")


def add(name: str) -> TreeWrite:
    return ADD[0], ADD[1].format(name)


class Recorded(RunningFile):
    """Records its calls, and fails or waits on request."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.calls: list[tuple[str, int]] = []
        self.fails = False

    def append(self, commands: Any) -> None:
        self._called("append", commands)
        super().append(commands)

    def replace(self, commands: Any) -> None:
        self._called("replace", commands)
        super().replace(commands)

    def _called(self, name: str, commands: Any) -> None:
        self.calls.append((name, len(commands)))
        if self.fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.logs("changes of the configuration cannot be kept")
@pytest.mark.parametrize("is_clean", [True, False])
async def test_a_full_disk_is_no_obstacle_to_going_on(
    is_clean: bool, everything: Whole, tmp_path: Path
) -> None:
    """The file has everything already, so a full disk is no problem."""
    made = [add("a"), add("b")]
    file = Recorded(everything.directory)
    file.replace(made)
    if is_clean:
        file.stop()
    else:
        with file.path.open("ab") as cut:
            cut.write(b'["handlers/vdisk')  # an incomplete write
    bare = look(everything.tree)
    await resume(everything.tree, file.load() or [])
    file.fails = True
    keeper = Keeper(everything.tree, bare, file)
    with pytest.raises(OSError, match="No space left"):
        await keeper.start(made)
    await keeper.start(made, resumed=True)
    assert file.is_unclean
    await everything.write(*add("c"))  # it takes effect, but is not saved
    file.fails = False
    await everything.write(*add("d"))
    await check(everything, tmp_path / "again")


async def kept(everything: Whole) -> tuple[Keeper, Recorded]:
    file = Recorded(everything.directory)
    keeper = Keeper(everything.tree, look(everything.tree), file)
    await keeper.start([])
    file.calls.clear()
    return keeper, file


async def check(everything: Whole, directory: Path) -> None:
    """The commands in the file produce the present tree."""
    async with whole(directory) as again:
        await resume(again.tree, RunningFile(everything.directory).load() or [])
        assert essence(look(again.tree)) == essence(look(everything.tree))


async def test_what_is_written_is_kept(everything: Whole, tmp_path: Path) -> None:
    _, file = await kept(everything)
    await everything.write(*add("a"))
    assert RunningFile(everything.directory).load() == [add("a")]
    await everything.write("devices/a/threads_num", "3\n")
    assert RunningFile(everything.directory).load() == [
        add("a"),
        ("devices/a/threads_num", "3\n"),
    ]
    assert await everything.refusal(*add("a")) == "EEXIST"
    assert len(RunningFile(everything.directory).load() or []) == 2
    assert file.calls == [("append", 1)] * 2
    await check(everything, tmp_path / "again")


@pytest.mark.parametrize(
    ("path", "text"),
    [("suspend", "0\n"), ("suspend", "-1\n"), ("trace_level", "add mem\n"),
     ("devices/a/block", "1\n"), ("devices/a/block", "0\n"), ("measure_latency", "1\n"),
     ("devices/a/dump_prs", "1\n")],
)  # fmt: skip
async def test_what_is_no_configuration_is_not(everything: Whole, path: str, text: str) -> None:
    await everything.add_null("a")
    if text == "0\n" and "block" in path:
        await everything.write(path, "1\n")
    if text == "-1\n":
        await everything.write(path, "0\n")
    _, file = await kept(everything)
    await everything.write(path, text)
    assert file.calls == []
    if path == "suspend" and text == "0\n":
        await everything.write(path, "-1\n")


async def test_commands_that_come_meanwhile_go_together(everything: Whole) -> None:
    _, file = await kept(everything)
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(everything.write, *add(f"d{number}"))
    assert sum(count for _, count in file.calls) == 50
    # The number of writes depends on the speed of the disk.
    assert len(file.calls) < 25
    commands = RunningFile(everything.directory).load() or []
    assert sorted(commands) == sorted(add(f"d{number}") for number in range(50))


async def test_the_file_is_made_anew_when_most_of_it_is_history(
    everything: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "_FEW", 20)
    _, file = await kept(everything)
    await everything.add_null("a")
    for number in range(100):
        await everything.write("devices/a/threads_num", f"{number % 7 + 2}\n")
        commands = RunningFile(everything.directory).load() or []
        assert len(commands) <= 30
        assert commands[-1] == ("devices/a/threads_num", f"{number % 7 + 2}\n")
    assert [name for name, _ in file.calls].count("replace") in range(2, 8)
    await check(everything, tmp_path / "again")


async def test_numbers_that_may_be_others_are_not_repeated(
    everything: Whole, tmp_path: Path
) -> None:
    """A write to IncomingUser1 has another place when IncomingUser is gone."""
    await kept(everything)
    directory = await everything.add_target("iqn.t")
    user = "target_attribute iqn.t IncomingUser"
    for name in ("joe", "jim"):
        await everything.write("targets/iscsi/mgmt", f"add_{user} {name} 12charsecret\n")
    await everything.write("targets/iscsi/mgmt", f"del_{user} joe\n")
    await everything.write(f"{directory}/IncomingUser1", "ann 12charsecret\n")
    assert "IncomingUser1" in everything.names(directory)
    async with whole(tmp_path / "again") as again:
        await resume(again.tree, RunningFile(everything.directory).load() or [])
        (name,) = (n for n in again.names(directory) if n.startswith("IncomingUser"))
        assert again.read(f"{directory}/{name}").startswith("ann 12charsecret\n")


@pytest.mark.logs("changes of the configuration cannot be kept")
async def test_a_full_disk_is_told_once_and_made_up_for(
    everything: Whole, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, file = await kept(everything)
    file.fails = True
    for name in "abc":
        await everything.write(*add(name))
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "changes of the configuration cannot be kept for the next start: No space left on device"
    ]
    caplog.clear()
    assert (RunningFile(everything.directory).load() or []) == []
    file.fails = False
    await everything.write(*add("d"))
    assert RunningFile(everything.directory).load() == [add(name) for name in "abcd"]
    await check(everything, tmp_path / "again")


async def test_what_is_kept_gets_to_the_disk_for_many_commands_at_a_time(
    everything: Whole, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    keeper, _ = await kept(everything)
    synchronised: list[int] = []
    monkeypatch.setattr(calls, "fdatasync", lambda fd: synchronised.append(os.fstat(fd).st_size))

    async def pass_time(times: int) -> None:
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(2 * keep.SYNCHRONISED_SECONDS)
        deadline = time.monotonic() + 10
        while len(synchronised) < times and time.monotonic() < deadline:
            await trio.to_thread.run_sync(time.sleep, 0.001)
        await trio.testing.wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        for name in "abcdef":
            await everything.write(*add(name))
        assert synchronised == []
        await pass_time(1)
        assert synchronised == [(everything.directory / "running").stat().st_size]
        await pass_time(0)
        assert len(synchronised) == 1
        await everything.write(*add("g"))
        await pass_time(2)
        assert len(synchronised) == 2
        nursery.cancel_scope.cancel()


@pytest.mark.logs("changes of the configuration cannot be kept")
async def test_what_the_disk_refused_is_written_again(
    everything: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    keeper, file = await kept(everything)
    monkeypatch.setattr(keep, "SYNCHRONISED_SECONDS", 0)
    monkeypatch.setattr(calls, "fdatasync", refuse)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await everything.write(*add("a"))
        await trio.sleep(0.1)
        monkeypatch.undo()
        await everything.write(*add("b"))
        nursery.cancel_scope.cancel()
    assert file.calls == [("append", 1), ("replace", 2)]


async def test_a_clean_end_is_one(everything: Whole) -> None:
    keeper, file = await kept(everything)
    await everything.write(*add("a"))
    await keeper.stop()
    assert not file.is_unclean
    await everything.write(*add("b"))
    assert RunningFile(everything.directory).load() == [add("a")]
