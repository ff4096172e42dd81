from __future__ import annotations

import logging
import os
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scstfs import journal
from scstfs import log as logs
from scstfs.log import BackgroundHandler, FileSink, Subject


@dataclass
class Sockets:
    """What stands for the system's log."""

    journal: socket.socket
    syslog: socket.socket


def bound(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    sock.settimeout(5)
    return sock


@pytest.fixture(autouse=True)
def not_the_systems_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests must not use this machine's log."""
    monkeypatch.setattr(journal, "JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setattr(journal, "SYSLOG", str(tmp_path / "syslog"))


@pytest.fixture
def system_log(not_the_systems_log: None) -> Iterator[Sockets]:
    with bound(journal.JOURNAL) as ours, bound(journal.SYSLOG) as syslog:
        yield Sockets(ours, syslog)


def parsed(entry: bytes) -> dict[str, str]:
    """The fields of an entry of the journal, in its native protocol."""
    fields = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(entry[:8], "little")
            value, entry = entry[8 : 8 + length], entry[8 + length + 1 :]
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A file that stands for stderr; close the log before reading it."""
    return tmp_path / "stderr"


def journal_of(file: Path) -> dict[str, str]:
    stat = file.stat()
    return {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}


def test_plain_lines_have_time_level_and_logger(output: Path) -> None:
    with output.open("w") as file:
        log = logs.setup(logging.INFO, file, {})
        logging.getLogger("scstfs.somewhere").info("%d disks", 3)
        log.close()
    line = output.read_text()
    assert re.fullmatch(r"[-\d]+ [\d:,]+ INFO scstfs\.somewhere: 3 disks\n", line)


@pytest.mark.logs(r" scstfs\.somewhere: text$")
@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logging.CRITICAL, "<2>"),
        (logging.ERROR, "<3>"),
        (logging.WARNING, "<4>"),
        (logging.INFO, "<6>"),
        (logging.DEBUG, "<7>"),
    ],
)
def test_journal_lines_have_syslog_priorities(output: Path, level: int, prefix: str) -> None:
    with output.open("w") as file:
        log = logs.setup(logging.DEBUG, file, journal_of(output))
        logging.getLogger("scstfs.somewhere").log(level, "text")
        log.close()
    assert output.read_text() == f"{prefix}scstfs.somewhere: text\n"


@pytest.mark.logs(r"ERROR scstfs: bug\n")
def test_every_line_of_a_traceback_has_its_priority(output: Path) -> None:
    with output.open("w") as file:
        log = logs.setup(logging.INFO, file, journal_of(output))
        try:
            _ = 1 // 0
        except ZeroDivisionError:
            logging.getLogger("scstfs").exception("bug")
        log.close()
    lines = output.read_text().splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


def test_another_process_in_the_journal_does_not_make_us_one(output: Path) -> None:
    with output.open("w") as file:
        log = logs.setup(logging.INFO, file, {"JOURNAL_STREAM": "1:2"})
        logging.getLogger("scstfs").info("text")
        log.close()
    assert not output.read_text().startswith("<")


@pytest.mark.logs(r"ERROR scstfs\.x: we fail$")
def test_level_holds_for_our_tree_and_others_may_only_warn(output: Path) -> None:
    with output.open("w") as file:
        log = logs.setup(logging.ERROR, file, {})
        logging.getLogger("scstfs.x").warning("not this")
        logging.getLogger("pyfuse3").info("nor this")
        logging.getLogger("pyfuse3").warning("library warns")
        logging.getLogger("scstfs.x").error("we fail")
        log.announce("ready")
        log.close()
    text = output.read_text()
    assert "this" not in text
    assert [line.split(": ")[-1] for line in text.splitlines()] == [
        "library warns",
        "we fail",
        "ready",
    ]


def test_closing_restores_the_logging_system(output: Path) -> None:
    before = [
        (logger.level, list(logger.handlers))
        for logger in (logging.getLogger(), logging.getLogger("scstfs"))
    ]
    with output.open("w") as file:
        logs.setup(logging.DEBUG, file, {}).close()
    after = [
        (logger.level, list(logger.handlers))
        for logger in (logging.getLogger(), logging.getLogger("scstfs"))
    ]
    assert after == before


def handler_for(fd: int, capacity: int = 4096) -> BackgroundHandler:
    return BackgroundHandler(FileSink(fd), as_text, capacity)


def as_text(record: logging.LogRecord) -> list[bytes]:
    return [record.getMessage().encode()]


def say(handler: BackgroundHandler, text: str) -> None:
    handler.handle(logging.LogRecord("scstfs", logging.INFO, "", 0, text, None, None))


def test_a_reader_that_does_not_read_never_blocks_the_writer() -> None:
    reader, writer = os.pipe()
    handler = handler_for(writer, capacity=4)
    for number in range(2000):  # far more than a pipe holds
        say(handler, f"{number:06} {'x' * 100}\n")
    told = b""
    while select.select([reader], [], [], 1.0)[0]:
        told += os.read(reader, 1 << 16)
    say(handler, "room again\n")
    handler.close(timeout=5)
    os.close(writer)
    with open(reader, "rb") as file:
        told += file.read()
    *lines, last = told.decode().splitlines()
    assert lines[0].startswith("000000 ")
    assert last.endswith(" log lines lost: they are not being read)room again")
    lost = sum(map(int, re.findall(r"\((\d+) log lines lost", told.decode())))
    assert len(lines) + lost == 2000


def test_nothing_is_lost_where_another_process_made_stderr_non_blocking() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handler = handler_for(writer)
    lines = [f"{number:06} {'x' * 100}\n" for number in range(2000)]
    for line in lines:
        say(handler, line)
    os.close(writer)
    closing = threading.Thread(target=handler.close, args=(5,))
    closing.start()
    with open(reader) as file:
        assert file.readlines() == lines
    closing.join()


def test_closing_does_not_wait_for_a_stuck_reader() -> None:
    reader, writer = os.pipe()
    handler = handler_for(writer, capacity=2)
    for _ in range(5):
        say(handler, "x" * 65536)
    began = time.perf_counter()
    handler.close(timeout=0.01)
    assert time.perf_counter() - began < 1
    os.close(reader)  # lets the thread end
    os.close(writer)


def test_a_closed_stderr_is_survived() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    handler = handler_for(writer)
    say(handler, "into the void\n")
    began = time.perf_counter()
    handler.close(timeout=5)
    # The thread has ended, so there was no wait.
    assert time.perf_counter() - began < 4
    os.close(writer)


def test_the_writing_thread_takes_no_signals() -> None:
    reader, writer = os.pipe()
    handler = handler_for(writer)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    say(handler, "go\n")
    assert os.read(reader, 10) == b"go\n"
    blocked = [
        int(line.split()[1], 16)
        for task in Path("/proc/self/task").iterdir()
        if task.name != str(os.getpid())
        for line in (task / "status").read_text().splitlines()
        if line.startswith("SigBlk:")
    ]
    handler.close(timeout=5)
    os.close(reader)
    os.close(writer)
    term = 1 << (signal.SIGTERM - 1)
    assert any(mask & term for mask in blocked)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


class Device:
    """Something that messages are about."""

    log_fields = logs.device_fields("disk1")

    def __str__(self) -> str:
        return "disk1"


def test_entries_of_the_journal_say_what_they_are_about(output: Path, system_log: Sockets) -> None:
    with output.open("w") as file:
        log = logs.setup(logging.INFO, file, journal_of(output))
        initiator = Subject("'iqn.i'", logs.initiator_fields("iqn.i"))
        logging.getLogger("scstfs.x").info("%s: %d of %s", Device(), 3, initiator)
        log.close()
    fields = parsed(system_log.journal.recv(65536))
    assert fields["MESSAGE"] == "disk1: 3 of 'iqn.i'"
    assert fields["PRIORITY"] == "6"
    assert fields["LOGGER"] == "scstfs.x"
    assert fields["SYSLOG_IDENTIFIER"] == "scstfs"
    assert fields["CODE_FILE"] == __file__
    assert (fields["SCST_DEVICE"], fields["SCST_INITIATOR"]) == ("disk1", "iqn.i")
    assert "SCST_TARGET" not in fields
    assert output.read_text() == ""


@pytest.mark.logs(r"ERROR scstfs: bug\n")
def test_a_traceback_is_one_entry_of_the_journal(system_log: Sockets) -> None:
    log = logs.setup_for_background(logging.INFO)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        logging.getLogger("scstfs").exception("bug")
    log.close()
    fields = parsed(system_log.journal.recv(65536))
    assert fields["PRIORITY"] == "3"
    assert fields["MESSAGE"].startswith("bug\nTraceback ")
    assert fields["MESSAGE"].endswith("ZeroDivisionError: integer division or modulo by zero")


def test_a_very_long_entry_comes_as_a_file(system_log: Sockets) -> None:
    log = logs.setup_for_background(logging.INFO)
    text = "x" * (1 << 20)
    logging.getLogger("scstfs").info(text)
    log.close()
    _, (fd,), _, _ = socket.recv_fds(system_log.journal, 65536, 1)
    with open(fd, "rb", closefd=True) as file:
        file.seek(0)
        assert parsed(file.read())["MESSAGE"] == text


def test_without_a_journal_syslog_gets_every_line(system_log: Sockets) -> None:
    system_log.journal.close()
    Path(journal.JOURNAL).unlink()
    log = logs.setup_for_background(logging.INFO)
    logging.getLogger("scstfs.x").info("one\ntwo")
    log.close()
    prefix = f"<30>scstfs[{os.getpid()}]: "
    received = [system_log.syslog.recv(65536).decode() for _ in range(2)]
    assert received == [f"{prefix}scstfs.x: one", f"{prefix}two"]


def test_without_either_nothing_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    log = logs.setup_for_background(logging.INFO)
    logging.getLogger("scstfs.x").info("nobody hears it")
    log.announce("nor that")
    log.close()
    assert capfd.readouterr() == ("", "")


def test_a_journal_that_was_restarted_gets_the_next_entry(system_log: Sockets) -> None:
    log = logs.setup_for_background(logging.INFO)
    system_log.journal.close()
    Path(journal.JOURNAL).unlink()
    with bound(journal.JOURNAL) as again:
        log.announce("ready")
        log.close()
        assert parsed(again.recv(65536))["MESSAGE"] == "ready"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.logs(r"scstfs\.t: (garbage|4 similar messages suppressed)")
def test_rate_limit_passes_a_burst_and_counts_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    limited = logs.RateLimited(logging.getLogger("scstfs.t"), burst=2, interval=5, clock=clock)
    for number in range(5):
        limited.warning("garbage %d", number)
    assert caplog.messages == ["garbage 0", "garbage 1"]
    clock.now += 4.9
    limited.warning("still too many")
    assert len(caplog.messages) == 2
    clock.now += 0.2
    limited.warning("garbage again")
    assert caplog.messages[2:] == ["4 similar messages suppressed", "garbage again"]


@pytest.mark.logs(r"scstfs\.t: seen$")
def test_rate_limit_does_not_count_what_the_level_hides(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "scstfs.t")
    limited = logs.RateLimited(logging.getLogger("scstfs.t"), burst=1, clock=Clock())
    limited.info("hidden")
    limited.info("hidden")
    limited.warning("seen")
    assert caplog.messages == ["seen"]
