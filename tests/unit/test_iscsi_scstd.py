"""The options of SCST's iSCSI daemon, as scripts pass them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from scstfs import cli, iscsi_scstd
from scstfs.errors import ExitStatus


@pytest.fixture(autouse=True)
def no_file_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iscsi_scstd, "_CONFIG", tmp_path / "default.conf")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command lines of scstfs that are run, instead of running them; all can be parsed."""
    found: list[str] = []

    def run(argv: list[str]) -> int:
        cli.parser().parse_args(argv)
        found.append(shlex.join(argv))
        return ExitStatus.OK

    monkeypatch.setattr(cli, "main", run)
    return found


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("", "mount --background --portal '*:3260'"),
        ("-f", "mount --portal '*:3260'"),
        ("-p 3261", "mount --background --portal '*:3261'"),
        ("-d 0", "mount --background --portal '*:3260'"),
        ("-d 0xff -f", "mount --log-level debug --portal '*:3260'"),
        ("-fd1", "mount --log-level debug --portal '*:3260'"),
        ("-u 0 -g 0", "mount --background --portal '*:3260'"),
        ("-u 33 -g 34", "mount --background --user 33:34 --portal '*:3260'"),
        ("-g 34", "mount --background --user 0:34 --portal '*:3260'"),
        (
            "--address='192.0.2.1 2001:db8::1' --port=3261 --foreground",
            "mount --portal 192.0.2.1:3261 --portal '[2001:db8::1]:3261'",
        ),
    ],
)
def test_options_mean_what_they_mean_to_scst(runs: list[str], given: str, meant: str) -> None:
    assert iscsi_scstd.main(shlex.split(given)) == ExitStatus.OK
    assert runs == [meant]


@pytest.mark.parametrize("given", [["-c", "/no/such/file"], ["-c", "/"]])
def test_what_can_not_be_done_is_told_and_nothing_is_started(
    runs: list[str], given: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert iscsi_scstd.main(given) == ExitStatus.USAGE
    assert capfd.readouterr().err.startswith("iscsi-scstd: ")
    assert runs == []


@pytest.mark.parametrize("given", [["extra"], ["-x"], ["-p"], ["-p", "iscsi"], ["-d", "much"]])
def test_other_command_lines_are_refused(runs: list[str], given: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        iscsi_scstd.main(given)
    assert ended.value.code == ExitStatus.USAGE
    assert runs == []


def test_it_tells_its_version_and_its_options(capfd: pytest.CaptureFixture[str]) -> None:
    for option, shown in (("-v", "iscsi-scstd version "), ("-h", "--foreground")):
        with pytest.raises(SystemExit) as ended:
            iscsi_scstd.main([option])
        assert ended.value.code == 0
        assert shown in capfd.readouterr().out


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize(
    ("text", "is_told"), [("# Target iqn.x\n\n  # more\n", False), ("Target iqn.x\n", True)]
)
def test_a_configuration_that_is_not_read_is_told_of(
    runs: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    text: str,
    is_told: bool,
    explicit: bool,
) -> None:
    file = tmp_path / "default.conf"
    file.write_text(text)
    assert iscsi_scstd.main(["-c", str(file)] if explicit else []) == ExitStatus.OK
    assert ("is not read" in capfd.readouterr().err) == is_told
    assert len(runs) == 1
