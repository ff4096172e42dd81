"""contrib/systemd/scst.service says nothing that the program does not understand."""

from __future__ import annotations

import shlex
from configparser import RawConfigParser
from pathlib import Path

import pytest

from scstfs import cli
from scstfs.errors import ExitStatus
from scstfs.options import Config, Resume

UNIT = Path(__file__).parents[2] / "contrib" / "systemd" / "scst.service"
CONFIGURATION = "/etc/scst.conf"


@pytest.fixture
def service() -> dict[str, str]:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keep the case of keys
    parser.read(UNIT)
    return dict(parser["Service"])


def words(command: str) -> list[str]:
    """The words of a command behind the program, without those of the administrator."""
    program, *rest = shlex.split(command)
    assert Path(program).name == "scstfs"
    return [word for word in rest if not word.startswith("$")]


def test_it_starts_what_the_command_line_knows(service: dict[str, str]) -> None:
    arguments = cli.parser().parse_args(words(service["ExecStart"]))
    assert arguments.command == "mount"
    assert arguments.state_dir == Config().state_dir == Path("/var/lib") / service["StateDirectory"]
    assert arguments.pid_file == Config().pid_file
    assert cli.parser().parse_args(words(service["ExecStopPost"])).command == "umount"


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
    arguments = cli.parser().parse_args(words(service["ExecStart"]))
    assert arguments.config == f"-{CONFIGURATION}"
    assert Resume(arguments.resume) is Resume.AUTO


def test_a_reload_applies_the_configuration(service: dict[str, str]) -> None:
    arguments = cli.parser().parse_args(words(service["ExecReload"]))
    assert (arguments.command, arguments.config_command) == ("config", "apply")
    assert arguments.file == CONFIGURATION
    assert arguments.mountpoint == Config().mountpoint


def test_loading_it_may_take_as_long_as_it_takes(service: dict[str, str]) -> None:
    assert service["TimeoutStartSec"] == "infinity"
