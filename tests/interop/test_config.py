"""`scstfs config`, typed in beside a running target."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scstfs.admin import conf, storing, tree
from scstfs.admin.check import check
from scstfs.admin.files import Files
from scstfs.errors import ExitStatus
from tests.support.admin import SCSTADMIN, Admin, administered, essence
from tests.support.initiator import Initiator
from tests.support.mounted import REPOSITORY

pytestmark = pytest.mark.slow

TARGET = "iqn.2005-03.org.example:disk"
SECRET = "12charsecret"
TEXT = f"""\
# what this is about
HANDLER vdisk_nullio {{
    DEVICE disk {{
        size 1048576    # a small one
    }}
}}
TARGET_DRIVER iscsi {{
    enabled 1
    TARGET {TARGET} {{
        LUN 0 disk
        IncomingUser "joe {SECRET}"
        enabled 1
    }}
}}
"""

AS_NOBODY = """
import os, sys
from scstfs import cli
from scstfs.admin import config_commands
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(cli.main(sys.argv[1:]))
"""
"""Runs the program as an ordinary user, after reading it as root."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    with administered(tmp_path_factory.mktemp("served")) as admin:
        yield admin


@pytest.fixture
def admin(shared: Admin) -> Admin:
    """Nothing is configured."""
    done = shared.config("apply", "-", answer="")
    assert done.returncode == 0, done.stderr
    return shared


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scst.conf"
    path.write_text(TEXT)
    return path


def test_apply_show_and_apply_again(admin: Admin, file: Path) -> None:
    applied = admin.config("apply", str(file))
    assert (applied.returncode, applied.stderr) == (0, "")
    assert applied.stdout.startswith("+ add devices/disk: size=1048576\n")
    assert admin.config("apply", str(file)).stdout == "nothing to do\n"
    shown = admin.config("show", "--show-secrets").stdout
    assert essence(conf.parse(shown).configuration) == essence(conf.parse(TEXT).configuration)
    again = admin.config("apply", "-", answer=shown)
    assert (again.returncode, again.stdout) == (0, "nothing to do\n")


def test_a_directory_is_read_at_once_or_file_by_file(
    admin: Admin, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.config("apply", str(file))
    reads = []
    read = Files.read

    def counted(files: Files, name: str) -> str:
        reads.append(name)
        return read(files, name)

    monkeypatch.setattr(Files, "read", counted)
    at_once = conf.render(tree.walk(Files(admin.root), every_attribute=True), no_keys=True)
    assert not [name for name in reads if not name.endswith("mgmt")]
    monkeypatch.setattr(Files, "_told", lambda *_: None)
    by_file = conf.render(tree.walk(Files(admin.root), every_attribute=True), no_keys=True)
    assert len(reads) > 50
    assert at_once == by_file


def test_nothing_that_is_printed_holds_a_secret(admin: Admin, file: Path) -> None:
    printed = [admin.config("diff", str(file)), admin.config("diff", "--json", str(file))]
    printed += [admin.config("diff", "--commands", str(file))]
    printed += [admin.config("apply", "--dry-run", str(file)), admin.config("apply", str(file))]
    printed += [admin.config("show"), admin.config("show", "--json"), admin.config("show", "--all")]
    file.write_text(TEXT.replace(SECRET, "other-" + SECRET))
    printed += [admin.config("apply", str(file))]
    file.write_text(TEXT.replace(f"joe {SECRET}", f"{'x' * 300} {SECRET}"))
    printed += [admin.config("apply", str(file))]
    file.write_text(TEXT.replace(f'"joe {SECRET}"', f"joe {SECRET}"))
    printed += [admin.config("check", str(file)), admin.config("apply", str(file))]
    for done in printed:
        assert SECRET not in done.stdout + done.stderr, done.args
    assert "joe ********" in printed[0].stdout
    assert SECRET in admin.config("show", "--show-secrets").stdout


def test_a_shell_does_what_diff_prints(admin: Admin, file: Path) -> None:
    """Also when it removes a target without sessions."""
    for wanted in file.read_text(), "":
        commands = admin.config("diff", "--commands", "--show-secrets", "-", answer=wanted).stdout
        done = admin.served.running.sh("set -e\n" + commands.replace(admin.root, "."))
        assert (done.returncode, done.stderr) == (0, "")
        assert admin.config("diff", "-", answer=wanted).stdout == "nothing to do\n"


def test_json_says_what_text_says(admin: Admin, file: Path) -> None:
    steps = json.loads(admin.config("diff", "--json", str(file)).stdout)
    text = admin.config("diff", str(file)).stdout.splitlines()
    assert len(steps) == len(text)
    assert steps[0] == {
        "verb": "add",
        "kind": "device",
        "path": "devices/disk",
        "parameters": {"size": "1048576"},
        "line": 3,
    }
    admin.config("apply", str(file))
    shown = json.loads(admin.config("show", "--json").stdout)
    assert shown == {
        "handlers": {"vdisk_nullio": {"devices": {"disk": {"attributes": {"size": "1048576"}}}}},
        "drivers": {
            "iscsi": {
                "attributes": {"enabled": "1"},
                "targets": {
                    TARGET: {
                        "attributes": {
                            "IncomingUser": "joe ********",
                            "enabled": "1",
                            "rel_tgt_id": shown["drivers"]["iscsi"]["targets"][TARGET][
                                "attributes"
                            ]["rel_tgt_id"],
                        },
                        "luns": {"0": {"device": "disk"}},
                    }
                },
            }
        },
    }
    assert json.loads(admin.config("diff", "--json", str(file)).stdout) == []


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_what_only_looks_changes_nothing(admin: Admin, file: Path, command: str) -> None:
    before = essence(admin.look())
    options = ["--dry-run"] if command == "apply" else []
    done = admin.config(command, *options, str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) > 3
    assert essence(admin.look()) == before


def test_a_refusal_names_the_line_and_leaves_nothing(admin: Admin, file: Path) -> None:
    before = essence(admin.look())
    file.write_text(TEXT.replace("LUN 0 disk\n", "LUN 0 disk\n        MaxBurstLength never\n"))
    done = admin.config("apply", str(file))
    assert (done.returncode, done.stdout) == (ExitStatus.CONFIG, "")
    assert done.stderr == (
        f"scstfs: {file}:11: cannot set MaxBurstLength of targets/iscsi/{TARGET} to never: "
        "Invalid argument (Wrong value never for parameter MaxBurstLength)\n"
        "scstfs: nothing was changed\n"
    )
    assert essence(admin.look()) == before


def test_mistakes_are_found_before_anything_is_done(admin: Admin, file: Path) -> None:
    file.write_text(TEXT.replace("LUN 0 disk", "LUN 1 disc").replace("size", "sice"))
    expected = [
        f"{file}:10:9: warning: target {TARGET} has no LUN 0, which initiators need to find the "
        "others",
        f"scstfs: {file}:4:9: error: DEVICE has no attribute sice; did you mean size?",
        f"scstfs: {file}:10:9: error: there is no device disc; did you mean disk?",
    ]
    for command in "check", "diff", "apply":
        done = admin.config(command, str(file))
        assert (done.returncode, done.stdout) == (ExitStatus.CONFIG, "")
        assert done.stderr.splitlines() == expected
    file.write_text(TEXT)
    checked = admin.config("check", str(file))
    assert (checked.returncode, checked.stdout) == (0, f"{file}: no errors\n")


def test_without_a_target_only_the_file_can_be_checked(file: Path, tmp_path: Path) -> None:
    def config(
        command: str, *arguments: str, where: str = "none"
    ) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "scstfs", "config", command, *arguments]
        return subprocess.run(
            [*argv, "--mountpoint", str(tmp_path / where)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    checked = config("check", str(file))
    assert (checked.returncode, checked.stdout) == (0, f"{file}: no errors\n")
    assert checked.stderr.startswith("no SCST is running at ")
    for arguments in ["show"], ["diff", str(file)], ["apply", str(file)], ["save", str(file)]:
        done = config(*arguments)
        assert (done.returncode, done.stdout) == (ExitStatus.NO_TREE, "")
        assert done.stderr.startswith("scstfs: no SCST is running at ")
        assert len(done.stderr.splitlines()) == 1
        elsewhere = config(*arguments, where=".")
        assert elsewhere.returncode == ExitStatus.NO_TREE
        assert elsewhere.stderr.endswith(": it is another directory\n")
    assert file.read_text() == TEXT


def test_only_root_sees_secrets_and_others_are_told_so(admin: Admin, tmp_path: Path) -> None:
    file = tmp_path / "scst.conf"
    file.write_text(TEXT)
    assert admin.config("apply", str(file)).returncode == 0

    def nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
        running = admin.served.running
        enter = ["sh", "-c", 'cd "$0" && exec "$@"', str(running.mountpoint)]
        argv = [sys.executable, "-c", AS_NOBODY, "config", *arguments, "--mountpoint", "."]
        return subprocess.run(
            running.argv_inside(*enter, *argv),
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
            input=TEXT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    for command in ["show"], ["diff", "-"], ["apply", "-"], ["save", "/x.conf"]:
        done = nobody(*command)
        assert (done.returncode, done.stdout) == (ExitStatus.NOT_PERMITTED, "")
        assert re.fullmatch(
            r"scstfs: cannot read \./targets/.*/IncomingUser: Permission denied\n", done.stderr
        )
    checked = nobody("check", "-")
    assert (checked.returncode, checked.stdout) == (0, "-: no errors\n")
    assert "only the file itself is checked" in checked.stderr


def test_changes_of_others_do_not_end_a_look(admin: Admin, tmp_path: Path) -> None:
    """A device, its target and its groups may be created and removed meanwhile."""
    script = """
    while [ ! -e "$0" ]; do
        echo "add_device r" >handlers/vdisk_nullio/mgmt
        echo "add_target iqn.r" >targets/iscsi/mgmt
        echo "create g" >targets/iscsi/iqn.r/ini_groups/mgmt
        echo "add r 0" >targets/iscsi/iqn.r/ini_groups/g/luns/mgmt
        echo "add r 0" >targets/iscsi/iqn.r/luns/mgmt
        echo "del_target iqn.r" >targets/iscsi/mgmt
        echo "del_device r" >handlers/vdisk_nullio/mgmt
    done
    """
    end, saved = tmp_path / "end", str(tmp_path / "saved.conf")
    with subprocess.Popen(["sh", "-c", script, str(end)], cwd=admin.root) as shell:
        try:
            for _ in range(10):
                for command in ["show"], ["save", saved], ["diff", saved]:
                    done = admin.config(*command)
                    assert (done.returncode, done.stderr) == (0, ""), (command, done)
                admin.files.forget()
                text = conf.render(storing.present(admin.files))
                assert not [f for f in check(conf.parse(text)) if f.is_error], text
        finally:
            end.touch()
    assert shell.returncode == 0


def test_saving_keeps_what_a_person_wrote(admin: Admin, file: Path) -> None:
    admin.config("apply", str(file))
    for _ in range(2):
        assert admin.config("save", str(file)).returncode == 0
        saved = file.read_text()
        line = next(line for line in saved.splitlines() if "rel_tgt_id" in line)
        assert saved.replace(f"{line}\n", "") == TEXT
    admin.served.write("handlers/vdisk_nullio/mgmt", "add_device another")
    assert admin.config("save", str(file)).returncode == 0
    assert "# a small one\n" in file.read_text()
    assert "DEVICE another\n" in file.read_text()
    new = file.with_name("new.conf")
    assert admin.config("save", str(new)).returncode == 0
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    assert admin.config("diff", str(new)).stdout == "nothing to do\n"


def test_an_editor_changes_what_runs(admin: Admin, file: Path, tmp_path: Path) -> None:
    admin.config("apply", str(file))
    editor = tmp_path / "an editor"
    editor.write_text('#!/bin/sh\nsed -i "$1" "$2"\n')
    editor.chmod(0o755)

    def edit(change: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return admin.config("edit", *arguments, VISUAL=f"'{editor}' '{change}'")

    done = edit("s/size .*/size 2097152/", str(file))
    assert (done.returncode, done.stdout) == (
        0,
        "~ set size of devices/disk from 1048576 to 2097152\n",
    ), done.stderr
    assert "size 2097152" in file.read_text()
    assert edit("s/size.*/size 3145728/").returncode == 0
    assert admin.served.read("devices/disk/size") == "3145728"
    assert edit("").stdout == "no changes\n"
    before = file.read_text()
    refused = edit("s/LUN 0 disk/LUN 0 disc/", str(file))
    assert refused.returncode == ExitStatus.CONFIG
    assert "there is no device disc" in refused.stderr
    assert file.read_text() == before
    assert admin.config("edit", str(file), VISUAL="false").returncode == ExitStatus.CONFIG
    for program, where in ("/none", str(file)), ("'", str(file)), ("true", "-"):
        done = admin.config("edit", where, VISUAL=program)
        assert (done.returncode, len(done.stderr.splitlines())) == (ExitStatus.USAGE, 1), done
    assert admin.config("edit", str(file), VISUAL=" ", EDITOR="true").stdout == "no changes\n"


def test_sessions_of_what_stays_do_not_notice(admin: Admin, file: Path) -> None:
    text = TEXT.replace(f'        IncomingUser "joe {SECRET}"\n', "")
    file.write_text(text)
    admin.config("apply", str(file))
    host, _, port = admin.served.portal.rpartition(":")
    with Initiator.connect(host, int(port), isid=bytes.fromhex("800000000001")) as initiator:
        initiator.login(TARGET)
        initiator.command("000000000000")  # the unit attention of a new session
        file.write_text(
            text.replace("    DEVICE disk {", "    DEVICE other\n    DEVICE disk {").replace(
                "LUN 0 disk\n",
                "LUN 0 disk\n        GROUP g {\n            LUN 0 other\n        }\n",
            )
        )
        assert admin.config("apply", str(file)).returncode == 0
        assert initiator.command("000000000000").status == 0
        assert "other" in os.listdir(admin.served.running.path / "devices")


@contextmanager
def half_applied(admin: Admin, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """An `apply` that has done a part of its work."""
    file = tmp_path / "big.conf"
    devices = "".join(f"DEVICE d{number}\n" for number in range(2000))
    file.write_text(f"HANDLER vdisk_nullio {{\n{devices}}}\n")
    argv = [sys.executable, "-m", "scstfs", "config", "apply", str(file)]
    with subprocess.Popen(
        [*argv, "--mountpoint", admin.root],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        while len(os.listdir(admin.served.running.path / "devices")) < 20:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        yield process


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, ExitStatus.INTERRUPTED), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_an_interrupted_apply_is_undone(
    admin: Admin, tmp_path: Path, number: int, status: int
) -> None:
    """Even if Ctrl-C is pressed again and again, or the connection breaks."""
    before = essence(admin.look())
    with half_applied(admin, tmp_path) as process:
        process.send_signal(number)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (status, "", "interrupted\nnothing was changed\n")
    assert essence(admin.look()) == before


def test_a_daemon_that_ends_during_an_apply_is_told(tmp_path: Path) -> None:
    with administered(tmp_path, ending=False) as admin, half_applied(admin, tmp_path) as process:
        os.kill(admin.served.running.pid, signal.SIGKILL)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (ExitStatus.NO_TREE, ""), err
        first, second = err.splitlines()
        assert first.startswith(f"scstfs: no SCST is running at {admin.root}: ")
        assert second == "scstfs: the file is applied in part"


def test_two_that_apply_at_once_do_it_one_after_the_other(admin: Admin, tmp_path: Path) -> None:
    """In the end one of the two configurations runs, and neither was refused."""
    argv = [sys.executable, "-m", "scstfs", "config", "apply", "--mountpoint", admin.root]
    files = []
    for name in "abc":
        file = tmp_path / f"{name}.conf"
        devices = "".join(f"DEVICE {name}{number}\n" for number in range(200))
        luns = "".join(f"LUN {number} {name}{number}\n" for number in range(200))
        file.write_text(
            f"HANDLER vdisk_nullio {{\n{devices}}}\n"
            f"TARGET_DRIVER iscsi {{\nTARGET iqn.x {{\n{luns}}}\n}}\n"
        )
        files.append(file)
    processes = [
        subprocess.Popen(
            [*argv, str(file)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for file in files
    ]
    waiting = "waiting for another program that changes the configuration\n"
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err.replace(waiting, "")) == (0, "")
    found = essence(admin.look())
    assert found in [essence(storing.read(str(file)).configuration) for file in files]


def test_a_daemon_that_was_stopped_keeps_nobody_waiting(admin: Admin, file: Path) -> None:
    commands = [
        ("-m", "scstfs", "status", "--mountpoint", admin.root),
        ("-m", "scstfs", "top", "--once", "--mountpoint", admin.root),
        ("-m", "scstfs", "config", "check", str(file), "--mountpoint", admin.root),
        ("-m", "scstfs", "config", "apply", str(file), "--mountpoint", admin.root),
        ("-m", "scstfs", "why", f"{admin.root}/targets/iscsi/mgmt"),
        ("-c", *SCSTADMIN, "-list_target"),
    ]
    os.kill(admin.served.running.pid, signal.SIGSTOP)
    try:
        processes = [
            subprocess.Popen(
                [sys.executable, *argv],
                env={
                    **os.environ,
                    "PYTHONPATH": str(REPOSITORY / "src"),
                    "SCSTFS_TREE": admin.root,
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for argv in commands
        ]
        for argv, process in zip(commands, processes, strict=True):
            _, err = process.communicate(timeout=60)
            name, status = ("scstfs: ", ExitStatus.NO_TREE) if argv[0] == "-m" else ("", 2)
            where = argv[-1] if "why" in argv else admin.root
            expected = (status, f"{name}SCST at {where} does not answer\n")
            assert (process.returncode, err) == expected, argv
    finally:
        os.kill(admin.served.running.pid, signal.SIGCONT)
    assert admin.config("apply", str(file)).returncode == 0
