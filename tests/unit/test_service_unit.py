"""The units in contrib/systemd say nothing that the program or systemd does not understand."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from scstfs import cli
from scstfs.errors import ExitStatus
from scstfs.options import Config, Resume
from tests.support.needs import need_programs

UNITS = Path(__file__).parents[2] / "contrib" / "systemd"
CONFIGURATION = "/etc/scst.conf"
SERVICES = ("scst.service", "scst-mounter@.service")

MOST_EXPOSURE = 4.0


def section(unit: str, name: str) -> dict[str, str]:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keep the case of keys
    parser.read(UNITS / unit)
    return dict(parser[name])


@pytest.fixture
def service() -> dict[str, str]:
    return section("scst.service", "Service")


def words(command: str) -> list[str]:
    """The words of a command behind the program, without those of the administrator."""
    program, *rest = shlex.split(command.removeprefix("+"))
    assert Path(program).name == "scstfs"
    return [word for word in rest if not word.startswith("$")]


def test_it_starts_what_the_command_line_knows(service: dict[str, str]) -> None:
    arguments = cli.parser().parse_args(words(service["ExecStart"]))
    assert arguments.command == "mount"
    assert arguments.state_dir == Config().state_dir == Path("/var/lib") / service["StateDirectory"]
    assert cli.parser().parse_args(words(service["ExecStopPost"])).command == "umount"


def test_the_mount_is_made_by_the_service_behind_the_socket(service: dict[str, str]) -> None:
    listening = section("scst-mounter.socket", "Socket")
    mount = cli.parser().parse_args(words(service["ExecStart"]))
    assert str(mount.mounter) == listening["ListenSequentialPacket"]
    assert section("scst.service", "Unit")["Requires"] == "scst-mounter.socket"
    assert (listening["Accept"], listening["SocketMode"]) == ("yes", "0600")
    mounter = section("scst-mounter@.service", "Service")
    assert mounter["StandardInput"] == "socket"
    arguments = cli.parser().parse_args(words(mounter["ExecStart"]))
    assert arguments.command == "mounter"
    assert arguments.mountpoint == mount.mountpoint == Config().mountpoint
    assert arguments.pid_file == Config().pid_file


def test_it_waits_for_readiness_which_the_daemon_tells(service: dict[str, str]) -> None:
    assert service["Type"] == "notify"


def test_mistakes_that_do_not_mend_themselves_are_not_tried_again(service: dict[str, str]) -> None:
    assert {int(word) for word in service["RestartPreventExitStatus"].split()} == {
        ExitStatus.USAGE,
        ExitStatus.NOT_PERMITTED,
        ExitStatus.NO_FUSE,
        ExitStatus.REAL_SCST,
        ExitStatus.MOUNTPOINT,
        ExitStatus.CONFIG,
    }


def test_the_configuration_is_loaded_and_may_be_missing(service: dict[str, str]) -> None:
    words_of_start = words(service["ExecStart"])
    assert f"--config=-{CONFIGURATION}" in words_of_start
    assert Resume(cli.parser().parse_args(words_of_start).resume) is Resume.AUTO


def test_a_reload_applies_the_configuration(service: dict[str, str]) -> None:
    arguments = cli.parser().parse_args(words(service["ExecReload"]))
    assert (arguments.command, arguments.config_command) == ("config", "apply")
    assert arguments.file == CONFIGURATION
    assert arguments.mountpoint == Config().mountpoint


def test_loading_it_may_take_as_long_as_it_takes(service: dict[str, str]) -> None:
    assert service["TimeoutStartSec"] == "infinity"


def analysed(unit: str, *options: str) -> str:
    need_programs("systemd-analyze")
    return subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", *options, UNITS / unit],
        check=False,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.slow
@pytest.mark.parametrize("unit", SERVICES)
def test_little_is_exposed(unit: str) -> None:
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", analysed(unit))
    assert found is not None
    assert float(found[1]) < MOST_EXPOSURE


@pytest.mark.slow
@pytest.mark.parametrize("unit", SERVICES)
def test_each_directive_that_is_not_set_has_its_reason(unit: str) -> None:
    text = (UNITS / unit).read_text()
    reasons = text[text.index("# Not set, with the reasons:") :]
    for check in json.loads(analysed(unit, "--json=short")):
        directive, _, what = check["name"].partition("=")
        if check["set"] is not False or (f"\n{directive}=" in text and not what.startswith("~@")):
            continue
        for name in check["name"].split("/"):
            assert name in reasons, check


@pytest.mark.slow
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    need_programs("systemd-analyze")
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/usr/local/bin/scstfs", sys.executable)
        (tmp_path / unit.name).write_text(text)
        # Whatever the umask is.
        (tmp_path / unit.name).chmod(0o644)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(map(str, tmp_path.glob("scst*")))],
        check=False,
        capture_output=True,
        text=True,
    )
    told = [line for line in done.stderr.splitlines() if "scst" in line]
    assert told == []
