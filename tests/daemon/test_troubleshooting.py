"""Each message of docs/troubleshooting.md, provoked; the page has what the program says."""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scstfs.mounts import MountFlag, bind, mount
from tests.daemon.harness import ENVIRONMENT, PATIENCE, REPOSITORY, SCST_TGT, Daemon, scstfs
from tests.daemon.target import TARGET, export, log_in, make_disk, manage, read, settle
from tests.support.initiator import Initiator
from tests.support.iscsi_login import Chap, LoginError
from tests.support.loop import loop_device
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts, need_programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
_ENTRY = re.compile(r"^\*\*(.+?)[.,:]?\*\*.*?^```text\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
MESSAGES = dict(_ENTRY.findall(PAGE))
"""What the page says that the program says, by the first words of the entry."""

_VARIABLE = re.compile(r"\b(PORTAL|PATH|DIR|FILE|LINE|COLUMN|USER|NAME|TARGET|NUMBER)\b")

LIVE = f"targets/iscsi/{TARGET}"
ROOT = "must be run by root"


def pattern(message: str) -> re.Pattern[str]:
    """What the message looks like with names and numbers in it."""
    pieces = _VARIABLE.split(message)
    return re.compile("".join(r"\S+" if n % 2 else re.escape(p) for n, p in enumerate(pieces)))


def said(title: str, text: str) -> None:
    """The text must have the message of an entry."""
    assert pattern(MESSAGES[title]).search(text), (MESSAGES[title], text)


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()


# --- It does not start ----------------------------------------------------------------------------


def refused(place: Path, *options: str, wrapper: tuple[str, ...] = ()) -> str:
    """What a daemon says that does not start."""
    with Daemon(place, *options, behaviour=None, wrapper=wrapper) as daemon:
        assert daemon.end() != 0
        return daemon.log


def port_in_use(place: Path) -> str:
    with socket.create_server(("127.0.0.1", 0)) as other:
        return refused(place, "--portal", f"127.0.0.1:{other.getsockname()[1]}")


def not_root(place: Path) -> str:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    probe = (*nobody, sys.executable, "-c", "import scstfs")
    if subprocess.run(probe, env=ENVIRONMENT, check=False, capture_output=True).returncode != 0:
        pytest.skip("other users may not read this directory")
    return refused(place, wrapper=nobody)


def no_right_to_mount(place: Path) -> str:
    return refused(place, wrapper=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))


def no_fuse(place: Path) -> str:
    devices = ("null", "urandom")
    for name in devices:
        (place / name).touch()
        bind(f"/dev/{name}", str(place / name))
    mount("empty", "/dev", "tmpfs", MountFlag.NONE)
    for name in devices:
        Path("/dev", name).touch()
        bind(str(place / name), f"/dev/{name}")
    return refused(place)


def runs_already(place: Path) -> str:
    with Daemon(place).ready() as daemon:
        text = refused(place)
        assert daemon.stop()[0] == 0
    return text


def runs_elsewhere(place: Path) -> str:
    (place / "tree").mkdir()
    with Daemon(place, "--mountpoint", str(place / "tree")).ready() as daemon:
        text = refused(place)
        assert daemon.stop()[0] == 0
    return text


def kernels_scst(place: Path) -> str:
    mount("modules", "/sys/module", "tmpfs", MountFlag.NONE)
    os.mkdir("/sys/module/scst")
    return refused(place)


def mistake(place: Path) -> str:
    file = place / "scst.conf"
    file.write_text("HANDLER vdisk_fileio {\n  DEVICE disk {\n    filename /nonesuch\n  }\n}\n")
    return refused(place, "--config", str(file))


def disk_is_missing(place: Path) -> str:
    disk = make_disk(place / "disk")
    with Daemon(place, behaviour=None).ready() as daemon:
        manage("handlers/vdisk_fileio/mgmt", f"add_device disk filename={disk}")
        daemon.send(signal.SIGKILL)
        daemon.wait_for("EOF")
    disk.unlink()
    return refused(place)


def no_namespaces(place: Path) -> str:
    """There is one more user namespace, in which the user is an ordinary one again."""
    command = [sys.executable, "-m", "scstfs", "sandbox", "true"]
    ordinary = shlex.join(["unshare", "--user", "--map-user=1", *command])
    script = f"echo 1 >/proc/sys/user/max_user_namespaces && {ordinary}"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", script],
        env=ENVIRONMENT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    return done.stderr


def another_users_state(place: Path) -> str:
    (place / "state").mkdir(mode=0o700)
    os.chown(place / "state", 54321, 54321)
    return refused(place, "--user", "games")


START: dict[str, Callable[[Path], str]] = {
    "The port is in use": port_in_use,
    "Not root": not_root,
    "Root without the right to mount": no_right_to_mount,
    "No FUSE": no_fuse,
    "It runs already": runs_already,
    "It runs already, for another mount point": runs_elsewhere,
    "The kernel's SCST is loaded": kernels_scst,
    "The configuration has a mistake": mistake,
    "After a crash, a disk is missing": disk_is_missing,
    "User namespaces are forbidden": no_namespaces,
    "A user may not do that": another_users_state,
}


@pytest.mark.parametrize("title", START)
def test_what_a_daemon_says_that_does_not_start(place: Path, title: str) -> None:
    in_namespace(lambda: said(title, START[title](place)))


# --- While it runs --------------------------------------------------------------------------------


class Scene:
    """A running daemon, as the user who may not open all disks, with a disk that is exported."""

    def __init__(self, place: Path, daemon: Daemon) -> None:
        self.place = place
        self.daemon = daemon

    def logged(self, title: str) -> None:
        """The log has the message, now or soon."""
        deadline = time.monotonic() + PATIENCE
        while not pattern(MESSAGES[title]).search(self.daemon.log):
            assert time.monotonic() < deadline, f"{MESSAGES[title]}\n{self.daemon.log}"
            time.sleep(0.02)

    def refused(self, title: str, handler: str, file: Path) -> None:
        path = f"{SCST_TGT}/handlers/{handler}/mgmt"
        with pytest.raises(OSError):  # noqa: PT011 - `scstfs why` has the reason
            Path(path).write_text(f"add_device other filename={file}\n")
        command = [sys.executable, "-m", "scstfs", "why", path]
        done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)
        said(title, done.stdout)

    def status(self, title: str) -> None:
        command = [sys.executable, "-m", "scstfs", "status", "problems"]
        done = subprocess.run(command, env=ENVIRONMENT, check=False, capture_output=True, text=True)
        # A terminal's width must not matter.
        said(title, " ".join(done.stdout.split()))

    def login_refused(self, title: str, target: str = TARGET, chap: Chap | None = None) -> None:
        initiator = Initiator.connect("127.0.0.1", self.daemon.port, name="iqn.other")
        with initiator, pytest.raises(LoginError):
            initiator.login(target, chap=chap)
        self.logged(title)


def commands_are_refused(scene: Scene) -> None:
    roots = make_disk(scene.place / "roots")
    roots.chmod(0o600)
    scene.refused('The shell says only "Permission denied" or "Invalid argument"', FILE, roots)
    scene.refused("A file is missing", FILE, scene.place / "nonesuch")
    node = scene.place / "node"
    with loop_device(make_disk(scene.place / "block")) as device:
        os.mknod(node, 0o666 | 0o060000, os.stat(device).st_rdev)
        node.chmod(0o666)
        held = os.open(device, os.O_RDWR | os.O_EXCL)
        try:
            scene.refused("A block device is in use", "vdisk_blockio", node)
        finally:
            os.close(held)


FILE = "vdisk_fileio"


def logins_are_refused(scene: Scene) -> None:
    scene.login_refused("The name is wrong, or there is no such target", "iqn.nothing")
    manage(f"{LIVE}/ini_groups/mgmt", "create empty")
    manage(f"{LIVE}/ini_groups/empty/initiators/mgmt", "add iqn.other")
    scene.login_refused("No group of the target names this initiator")
    manage(f"{LIVE}/ini_groups/mgmt", "del empty")
    manage("targets/iscsi/mgmt", f"add_target_attribute {TARGET} IncomingUser joe 123456789012")
    scene.login_refused("CHAP fails", chap=Chap("joe", b"another secret"))
    manage("targets/iscsi/mgmt", f"del_target_attribute {TARGET} IncomingUser joe")
    scene.daemon.send(signal.SIGUSR1)
    scene.daemon.wait_for("logins are suspended")
    scene.login_refused("Logins are suspended")
    scene.daemon.send(signal.SIGUSR2)
    scene.daemon.wait_for("logins are resumed")


def lun_0_is_missing(scene: Scene) -> None:
    manage(f"{LIVE}/luns/mgmt", "del 0")
    manage(f"{LIVE}/luns/mgmt", "add disk 1")
    with log_in(scene.daemon, "iqn.third") as initiator:
        initiator.command(bytes(6), lun=0)
    scene.logged("LUN 0 is missing")
    manage(f"{LIVE}/luns/mgmt", "del 1")
    manage(f"{LIVE}/luns/mgmt", "add disk 0")


def initiators_hang(scene: Scene) -> None:
    manage("targets/iscsi/enabled", "0")
    scene.status("While it logs in: the driver is disabled")
    manage("targets/iscsi/enabled", "1")
    manage("suspend", "1")
    scene.status("All commands wait: somebody has suspended them")
    manage("suspend", "-1")
    manage(f"{LIVE}/black_hole", "1")
    scene.status("Commands of one target get no answer: its black hole is on")
    manage(f"{LIVE}/black_hole", "0")


def commands_are_aborted(scene: Scene) -> None:
    with log_in(scene.daemon, "iqn.slow") as initiator:
        settle(initiator)
        task = initiator.prepare("2a000000000000000800", data_out=bytes(4096), immediate_data=0)
        initiator.answer_r2ts = False
        initiator.send(task.command)
        initiator.task_management(1, task=task)
        assert read(initiator, 0, 8).status == 0
    scene.logged("Commands take longer than the initiator waits")


def data_is_lost(scene: Scene) -> None:
    manage(f"{LIVE}/RspTimeout", "2")
    with log_in(scene.daemon, "iqn.lossy") as initiator:
        settle(initiator)
        initiator.answer_r2ts = False
        initiator.issue("2a000000000000010000", data_out=bytes(256 * 512))
        initiator.wait_closed()
    scene.logged("The network loses data, or the initiator stopped")


def the_disk_is_gone(scene: Scene) -> None:
    (scene.place / "disk").rename(scene.place / "moved")
    scene.status("The disk is a file that is gone")
    (scene.place / "moved").rename(scene.place / "disk")


def the_disk_does_not_answer(scene: Scene) -> None:
    """A FUSE file system without a daemon takes the place of the disk's directory."""
    descriptor = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0"
    mount("hangs", str(scene.place), "fuse", MountFlag.NONE, options)
    try:
        scene.status("The file system of a disk does not answer")
    finally:
        os.close(descriptor)
        ctypes.CDLL(None).umount2(os.fsencode(scene.place), 2)


SCENES: dict[Callable[[Scene], None], tuple[str, ...]] = {
    commands_are_refused: (
        'The shell says only "Permission denied" or "Invalid argument"',
        "A file is missing",
        "A block device is in use",
    ),
    logins_are_refused: (
        "The name is wrong, or there is no such target",
        "No group of the target names this initiator",
        "CHAP fails",
        "Logins are suspended",
    ),
    lun_0_is_missing: ("LUN 0 is missing",),
    initiators_hang: (
        "While it logs in: the driver is disabled",
        "All commands wait: somebody has suspended them",
        "Commands of one target get no answer: its black hole is on",
    ),
    commands_are_aborted: ("Commands take longer than the initiator waits",),
    data_is_lost: ("The network loses data, or the initiator stopped",),
    the_disk_is_gone: ("The disk is a file that is gone",),
    the_disk_does_not_answer: ("The file system of a disk does not answer",),
}


def test_what_is_said_while_it_runs(place: Path) -> None:
    need_programs("losetup")

    def body() -> None:
        disk = make_disk(place / "disk")
        disk.chmod(0o666)
        with Daemon(place, "--user", "games", behaviour=None).ready() as daemon:
            export(disk)
            scene = Scene(place, daemon)
            for play in SCENES:
                play(scene)
            assert "Traceback" not in daemon.log
            assert daemon.stop()[0] == 0

    in_namespace(body)


# --- Elsewhere ------------------------------------------------------------------------------------


def test_a_tree_that_does_not_answer(place: Path) -> None:
    def body() -> None:
        status, text = scstfs("status")
        assert status == 12
        said("No SCST runs", text)
        with Daemon(place).ready() as daemon:
            daemon.kill_all()
            daemon.end()
        with pytest.raises(
            OSError, match=MESSAGES["The daemon was killed, and its mounter with it"]
        ):
            os.listdir(SCST_TGT)
        assert scstfs("umount")[0] == 0

    in_namespace(body)


OTHERS = {
    "No SCST runs",
    "The daemon was killed, and its mounter with it",
    # tests/conformance/test_limits.py, with a shorter time.
    "Something else speaks to the port",
}


def test_every_message_is_provoked() -> None:
    played = {title for titles in SCENES.values() for title in titles}
    assert set(MESSAGES) == {*START, *played, *OTHERS}
    assert PAGE.count("```text") == len(MESSAGES)
    limits = (REPOSITORY / "tests/conformance/test_limits.py").read_text()
    assert MESSAGES["Something else speaks to the port"] in limits
