from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scstfs import __version__, cli, daemon, mountpoint
from scstfs.daemon import Announce
from scstfs.errors import ExitStatus, UsageError
from scstfs.options import Config
from scstfs.portals import ListenPortal

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The options for the daemon, instead of running it."""
    configs: list[Config] = []
    monkeypatch.setattr(daemon, "run", lambda config, announce: configs.append(config))
    return configs


def test_defaults_are_the_kernels_places(runs: list[Config]) -> None:
    assert cli.main(["mount"]) == ExitStatus.OK
    assert runs == [Config()]
    assert runs[0].mountpoint == "/sys/kernel/scst_tgt"
    assert runs[0].state_dir == Path("/var/lib/scst")
    assert runs[0].portals == ()
    assert runs[0].pid_file == Path("/run/iscsi-scstd.pid")


def test_there_may_be_no_pid_file(runs: list[Config]) -> None:
    assert cli.main(["mount", "--pid-file", ""]) == ExitStatus.OK
    assert runs[0].pid_file is None


def test_options_reach_the_daemon(runs: list[Config]) -> None:
    options = "--mountpoint /m --state-dir /s --portal 127.0.0.1:1 --portal [::1]:2 --pid-file /p"
    assert cli.main(["mount", *options.split(), "--log-level", "error"]) == ExitStatus.OK
    assert runs == [
        Config(
            mountpoint="/m",
            state_dir=Path("/s"),
            portals=(ListenPortal("127.0.0.1", 1), ListenPortal("::1", 2)),
            pid_file=Path("/p"),
        )
    ]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["serve"],
        ["mount", "extra"],
        ["mount", "--portal", "::1:3260"],
        ["mount", "--portal"],
        ["mount", "--log-level", "loud"],
        ["mount", "--nothing"],
        ["mount", "--mountpoint", ""],
        ["mount", "--state-dir", ""],
        ["umount", "--mountpoint="],
        ["umount", "--portal", "127.0.0.1"],
        ["mount", "--resume", "sometimes"],
        *(["config", command, ""] for command in ("check", "diff", "apply", "save", "edit")),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_told_in_one_line(
    argv: list[str], runs: list[Config], capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == ExitStatus.USAGE
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"scstfs: .*--help'\)\n", err)
    assert runs == []


@pytest.mark.parametrize("option", ["ca", "cert", "key", "user", "password-file"])
def test_options_of_etcd_need_etcd(
    option: str, runs: list[Config], capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["mount", f"--etcd-{option}", "x"]) == ExitStatus.USAGE
    assert capfd.readouterr().err == f"scstfs: --etcd-{option} without --etcd\n"
    assert runs == []


@pytest.mark.parametrize("option", ["ca", "cert", "key"])
def test_files_for_tls_need_tls(
    option: str, runs: list[Config], capfd: pytest.CaptureFixture[str]
) -> None:
    argv = ["mount", "--etcd", "http://a:1,http://b:1", "--node", "n", f"--etcd-{option}", "x"]
    assert cli.main(argv) == ExitStatus.USAGE
    err = capfd.readouterr().err
    assert err == f"scstfs: --etcd-{option} without an https URL of --etcd\n"
    assert runs == []


def test_an_ordinary_mistake_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(config: Config, announce: Announce) -> None:
        raise UsageError(ExitStatus.PORTAL, "cannot listen on 0.0.0.0:3260")

    monkeypatch.setattr(daemon, "run", refuse)
    assert cli.main(["mount"]) == ExitStatus.PORTAL
    assert capfd.readouterr().err == "scstfs: cannot listen on 0.0.0.0:3260\n"


@pytest.mark.logs(r"unexpected error\n(.*\n)+ZeroDivisionError: ours")
def test_a_bug_leaves_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(config: Config, announce: Announce) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(daemon, "run", fail)
    assert cli.main(["mount"]) == ExitStatus.BUG
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert "ZeroDivisionError: ours" in err


def test_readiness_is_announced_whatever_the_level(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def serve(config: Config, announce: Announce) -> None:
        logging.getLogger("scstfs.x").warning("hidden")
        announce("ready: everything")

    monkeypatch.setattr(daemon, "run", serve)
    assert cli.main(["mount", "--log-level", "error"]) == ExitStatus.OK
    assert capfd.readouterr().err.endswith("scstfs: ready: everything\n")


@pytest.mark.parametrize("something", [True, False])
def test_umount_cleans_up_and_tells_when_there_was_nothing(
    something: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cleaned: list[str] = []

    def clean(path: str) -> bool:
        cleaned.append(path)
        return something

    monkeypatch.setattr(mountpoint, "clean", clean)
    assert cli.main(["umount", "--mountpoint", "/m"]) == ExitStatus.OK
    assert cleaned == ["/m"]
    assert ("nothing to clean up at /m" in capfd.readouterr().err) is not something


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("--version", ExitStatus.OK),
        ("serve", ExitStatus.USAGE),
        ("umount --mountpoint m", ExitStatus.OK),
    ],
)
def test_closed_standard_streams_are_no_obstacle(
    tmp_path: Path, arguments: str, status: ExitStatus
) -> None:
    program = [sys.executable, "-m", "scstfs", *arguments.split()]
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *program]
    assert subprocess.run(closed, cwd=tmp_path, timeout=20, check=False).returncode == status


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capfd.readouterr().out == f"scstfs {__version__}\n"


def test_help_and_readme_list_all_exit_statuses(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert cli.exit_status_help() in capfd.readouterr().out
    readme = README.read_text()
    for status in ExitStatus:
        assert f"| {status.value} | {status.meaning} |" in readme


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["config", "--help"], ["config", "check", os.devnull]],
)
def test_output_that_cannot_be_written_is_told_in_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scstfs", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == ExitStatus.BUG
    last = done.stderr.splitlines()[-1]
    assert last == "scstfs: cannot go on: standard output: No space left on device"
    assert "Traceback" not in done.stderr


def test_input_without_end_is_told() -> None:
    with open("/dev/zero") as zeros:
        done = subprocess.run(
            [sys.executable, "-m", "scstfs", "config", "check", "-"],
            stdin=zeros,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == ExitStatus.CONFIG
    assert done.stderr == "scstfs: -: too large for a configuration\n"


def test_messages_do_not_reach_the_terminal_as_commands(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scst.conf"
    file.write_text("HANDLER a\x1b[31mb c {\n}\nx\x07 y z\n")
    nowhere = str(tmp_path / "none\x1b")
    assert cli.main(["config", "check", str(file), "--mountpoint", nowhere]) == ExitStatus.CONFIG
    out, err = capfd.readouterr()
    assert "\\x1b" in err
    assert (out + err).replace("\n", "").isprintable()


def test_of_very_many_mistakes_the_first_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scst.conf"
    file.write_text("HANDLER\n" * 20_000)
    nowhere = str(tmp_path / "none")
    assert cli.main(["config", "check", str(file), "--mountpoint", nowhere]) == ExitStatus.CONFIG
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == "scstfs: and 19,900 more"
    assert len(lines) == 102
