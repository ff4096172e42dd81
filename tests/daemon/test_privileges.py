"""What the daemon may do while it serves: as root, and as another user."""

from __future__ import annotations

import os
import pwd
import resource
import signal
from pathlib import Path

import pytest

from scstfs.capabilities import Capability
from scstfs.errors import ExitStatus
from scstfs.mounts import MountFlag, mount
from tests.daemon.harness import SCST_TGT, Daemon
from tests.daemon.target import TARGET, log_in, make_disk, manage, read, settle, write
from tests.daemon.toy import ATTEMPTS
from tests.support.loop import loop_device
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts

pytestmark = pytest.mark.slow

USER = pwd.getpwnam("games")
"""A user without privileges, whom every Debian has."""

FILES = "handlers/vdisk_fileio/mgmt"
DEVICES = "handlers/vdisk_blockio/mgmt"


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()


def bits(*capabilities: Capability) -> int:
    return sum(1 << capability for capability in capabilities)


def credentials(pid: int) -> list[dict[str, str]]:
    """The status of each thread."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        found.append({key: value.strip() for key, _, value in (s.partition(":") for s in lines)})
    return found


def mounter_of(daemon: Daemon) -> int:
    pid = daemon.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def all_have(pid: int, user: int, capabilities: int) -> None:
    for thread in credentials(pid):
        assert thread["Uid"].split() == [str(user)] * 4
        for kind in ("CapPrm", "CapEff", "CapBnd"):
            assert int(thread[kind], 16) == capabilities, (thread["Name"], kind)
        for kind in ("CapInh", "CapAmb"):
            assert int(thread[kind], 16) == 0, (thread["Name"], kind)
        assert thread["NoNewPrivs"] == "1"


def refusal(path: str, command: str) -> tuple[type[OSError], str]:
    """The error of a command, and why it was refused."""
    with pytest.raises(OSError) as refused:  # noqa: PT011 - its type is returned
        manage(path, command)
    why = os.getxattr(f"{SCST_TGT}/{path}", "user.scst.last_error").decode()
    return type(refused.value), why


@pytest.mark.parametrize(
    ("options", "user", "kept"),
    [
        ((), 0, (Capability.DAC_OVERRIDE, Capability.SYS_RAWIO)),
        (("--capabilities", "cap_sys_rawio"), 0, (Capability.SYS_RAWIO,)),
        (("--capabilities", ""), 0, ()),
        (("--user", USER.pw_name), USER.pw_uid, ()),
        (
            ("--user", f"{USER.pw_uid}:{USER.pw_gid}", "--capabilities", "sys_rawio"),
            USER.pw_uid,
            (Capability.SYS_RAWIO,),
        ),
        (("--user", "54321:12345"), 54321, ()),
    ],
)
def test_every_thread_has_only_what_is_kept(
    place: Path, options: tuple[str, ...], user: int, kept: tuple[Capability, ...]
) -> None:
    disk = make_disk(place / "disk")
    disk.chmod(0o666)

    def body() -> None:
        with Daemon(place, *options, behaviour=None).ready() as daemon:
            manage(FILES, f"add_device disk filename={disk}")  # starts threads
            pid = daemon.process.pid
            assert len(credentials(pid)) > 3
            expected = bits(*kept)
            for thread in credentials(pid):
                assert thread["Uid"].split() == [str(user)] * 4
                for kind in ("CapPrm", "CapEff"):
                    assert int(thread[kind], 16) == expected, (thread["Name"], kind)
            all_have(pid, user, expected)
            all_have(mounter_of(daemon), 0, bits(Capability.SYS_ADMIN, Capability.DAC_OVERRIDE))
            assert os.stat(SCST_TGT).st_uid == 0
            assert os.stat(f"{SCST_TGT}/{FILES}").st_uid == 0
            assert daemon.stop()[0] == 0

    in_namespace(body)


def test_groups_are_the_users(place: Path) -> None:
    def body() -> None:
        with Daemon(place, "--user", USER.pw_name).ready() as daemon:
            expected = set(os.getgrouplist(USER.pw_name, USER.pw_gid))
            for thread in credentials(daemon.process.pid):
                assert {int(group) for group in thread["Groups"].split()} == expected
                assert thread["Gid"].split() == [str(USER.pw_gid)] * 4
            assert daemon.stop()[0] == 0

    in_namespace(body)


def test_files_and_devices_of_the_user_are_served_and_others_refused(place: Path) -> None:
    disks = {name: make_disk(place / name) for name in ("own", "roots", "own_block", "roots_block")}
    os.chown(disks["own"], USER.pw_uid, USER.pw_gid)
    for disk in disks.values():
        disk.chmod(0o600)

    def body() -> None:
        with (
            loop_device(disks["own_block"]) as own,
            loop_device(disks["roots_block"]) as roots,
            Daemon(place, "--user", USER.pw_name, behaviour=None).ready() as daemon,
        ):
            nodes = {}
            for name, device in (("own", own), ("roots", roots)):
                nodes[name] = place / f"{name}-node"
                os.mknod(nodes[name], 0o600 | 0o060000, os.stat(device).st_rdev)
            os.chown(nodes["own"], USER.pw_uid, USER.pw_gid)
            manage(FILES, f"add_device file filename={disks['own']}")
            manage(DEVICES, f"add_device block filename={nodes['own']}")
            for path, file in ((FILES, disks["roots"]), (DEVICES, nodes["roots"])):
                kind, why = refusal(path, f"add_device other filename={file}")
                assert kind is PermissionError, why
                said = f"other: {file}: Permission denied to the user {USER.pw_name}"
                assert why == f"EACCES: {said}"
                daemon.wait_for(said)
            manage("handlers/vcdrom/mgmt", "add_device cd")
            kind, why = refusal("devices/cd/filename", str(disks["roots"]))
            assert kind is PermissionError, why
            assert why.endswith(f"Permission denied to the user {USER.pw_name}")
            manage("targets/iscsi/mgmt", f"add_target {TARGET}")
            manage(f"targets/iscsi/{TARGET}/luns/mgmt", "add file 0")
            manage(f"targets/iscsi/{TARGET}/luns/mgmt", "add block 1")
            manage(f"targets/iscsi/{TARGET}/enabled", "1")
            manage("targets/iscsi/enabled", "1")
            with log_in(daemon) as initiator:
                for lun in (0, 1):
                    settle(initiator, lun)
                    data = bytes([lun + 1]) * 4096
                    assert initiator.wait(write(initiator, 0, data, lun)).status == 0
                    assert read(initiator, 0, 8, lun).data == data
            assert daemon.stop()[0] == 0
            for name in ("own", "own_block"):
                assert disks[name].read_bytes()[:512].strip(b"\1\2") == b""

    in_namespace(body)


def test_files_cannot_be_written_outside(place: Path) -> None:
    """Nor anything else be done that only root may."""

    def body() -> None:
        with Daemon(place, "--user", USER.pw_name).ready() as daemon:
            Path(SCST_TGT, "escape").write_text("x")
            for attempt in ATTEMPTS:
                line = daemon.wait_for(f"{attempt.__name__}: ")
                assert line.endswith((": EPERM", ": EACCES")), line
            assert daemon.stop()[0] == 0
        assert not os.path.exists("/etc/scstfs-toy")

    in_namespace(body)


def test_root_may_write_files_and_nothing_else(place: Path) -> None:
    expected = {"write_a_file_of_root", "read_a_file_of_root", "become_root"}
    expected |= {"get_privileges_by_a_program"}  # which are those it has: user 0
    expected |= {"end_the_first_process"}  # by its user id

    def body() -> None:
        with Daemon(place).ready() as daemon:
            Path(SCST_TGT, "escape").write_text("x")
            daemon.wait_for(f"{ATTEMPTS[-1].__name__}: ")
            done = {
                line.split(": ")[-2].split()[-1] for line in daemon.lines if "succeeded" in line
            }
            assert done == expected
            assert daemon.stop()[0] == 0

    def with_an_etc_of_its_own() -> None:
        mount("etc", "/etc", "tmpfs", MountFlag.NONE)
        Path("/etc/shadow").touch(0o600)
        body()

    in_namespace(with_an_etc_of_its_own)


def test_state_goes_from_root_to_the_user_and_back(place: Path) -> None:
    disk = make_disk(place / "disk")
    os.chown(disk, USER.pw_uid, USER.pw_gid)
    secret = place / "scst.conf"
    secret.write_text(f"HANDLER vdisk_fileio {{ DEVICE disk {{ filename {disk}\n}} }}\n")
    secret.chmod(0o600)

    def served(*options: str) -> None:
        with Daemon(place, "--resume", "always", *options, behaviour=None).ready() as daemon:
            assert os.listdir(f"{SCST_TGT}/devices") == ["disk"]
            manage("devices/disk/threads_num", "3")
            assert daemon.stop()[0] == 0
            assert "Traceback" not in daemon.log

    def body() -> None:
        served("--config", str(secret), "--user", USER.pw_name)
        served()
        served("--user", USER.pw_name)
        for path in (place / "state").rglob("*"):
            assert path.stat().st_uid == USER.pw_uid
        assert (place / "state/running.stopped").stat().st_mode & 0o777 == 0o600

    in_namespace(body)


def test_there_is_no_core_dump_and_no_look_into_memory(place: Path) -> None:
    def body() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for options in ((), ("--user", USER.pw_name)):
            with Daemon(place, *options).ready() as daemon:
                # Files of a process that may not be dumped belong to root.
                assert os.stat(f"/proc/{daemon.process.pid}/mem").st_uid == 0
                os.kill(daemon.process.pid, signal.SIGABRT)
                _, status = os.waitpid(daemon.process.pid, 0)
                daemon.process.returncode = os.waitstatus_to_exitcode(status)
                assert os.WTERMSIG(status) == signal.SIGABRT
                assert not os.WCOREDUMP(status)
                daemon.wait_for("EOF")

    in_namespace(body)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--user", "nonesuch"), "there is no user 'nonesuch'"),
        (("--user", "games:nonesuch"), "there is no group 'nonesuch'"),
        (("--user", "4294967295"), "there is no user '4294967295'"),
        (("--capabilities", "sys_admin"), "'sys_admin' is none of dac_override, sys_rawio"),
    ],
)
def test_what_there_is_not_is_told(place: Path, options: tuple[str, ...], said: str) -> None:
    with Daemon(place, *options) as daemon:
        assert daemon.end() == ExitStatus.USAGE
        assert said in daemon.log


def test_a_state_directory_that_the_user_can_not_use_is_told(place: Path) -> None:
    (place / "state").mkdir(mode=0o700)
    os.chown(place / "state", 54321, 54321)

    def body() -> None:
        with Daemon(place, "--user", USER.pw_name) as daemon:
            assert daemon.end() == ExitStatus.STATE_DIR
            assert f"cannot use the state directory {place}/state: Permission denied" in daemon.log

    in_namespace(body)
