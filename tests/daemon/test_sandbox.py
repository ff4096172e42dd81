"""`scstfs sandbox`, and a mount, by an ordinary user."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.errors import ExitStatus
from tests.daemon.harness import PATIENCE, REPOSITORY
from tests.support.needs import lacking, need_mounts, need_programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NOBODY = pwd.getpwnam("nobody")

# Ordinary users need a FUSE device that all may open, the list of mounts that fusermount3(1) reads
# and the smallest systems lack, and the program where they may read it.
MACHINE = """
{ [ -e "$1/fuse" ] || mknod --mode=666 "$1/fuse" c 10 229; } &&
mount --bind "$1/fuse" /dev/fuse &&
{ [ -e /etc/mtab ] || {
    { [ -e "$1/etc" ] || cp -a /etc "$1/etc"; } &&
    ln -sf /proc/self/mounts "$1/etc/mtab" && mount --bind "$1/etc" /etc
}; } &&
mount --bind "$2" "$1/checkout" && cd "$1/user" && shift 2 && exec "$@"
"""

EXPORT = """
cd /sys/kernel/scst_tgt
truncate --size=8M "$HOME/disk"
echo "add_device disk filename=$HOME/disk" >handlers/vdisk_fileio/mgmt
echo "add_target iqn.2007-05.com.example:t" >targets/iscsi/mgmt
echo "add disk 0" >targets/iscsi/iqn.2007-05.com.example:t/luns/mgmt
echo 1 >targets/iscsi/iqn.2007-05.com.example:t/enabled
echo 1 >targets/iscsi/enabled
"""


class User:
    """An ordinary user with home directory `home`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.home = directory / "user"
        checkout = directory / "checkout"
        for made in (self.home, checkout):
            made.mkdir()
        os.chown(self.home, NOBODY.pw_uid, NOBODY.pw_gid)
        self._environment = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{checkout}/src",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        python = str(Path(sys.executable))
        if Path(python).is_relative_to(REPOSITORY):
            python = str(checkout / Path(python).relative_to(REPOSITORY))
        self.scstfs = (python, "-m", "scstfs")
        if self.run("true").returncode != 0:
            lacking("an ordinary user cannot run this Python")

    def start(self, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation", "private", "sh", "-c", MACHINE, "sh"),
                *(str(self._directory), str(REPOSITORY)),
                *("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}"),
                *("--clear-groups", "--inh-caps=-all", *argv),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        )

    def run(self, script: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script in a sandbox."""
        return ended(self.start(*self.scstfs, "sandbox", *options, "sh", "-ec", script))

    def outside(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script in which $scstfs is the program, but there is no sandbox."""
        return ended(
            self.start("sh", "-ec", f"scstfs={shlex.quote(shlex.join(self.scstfs))}\n{script}")
        )

    def processes(self) -> list[int]:
        """The processes started here that still run, found by their environment."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"HOME={self.home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:
                pass  # it ended
        return found

    def make(self, name: str) -> None:
        """Make a file of a mebibyte that belongs to the user."""
        (self.home / name).write_bytes(bytes(1 << 20))
        os.chown(self.home / name, NOBODY.pw_uid, NOBODY.pw_gid)

    def left(self) -> list[str]:
        return sorted(path.name for path in self.home.iterdir())


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    output, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.fixture
def user() -> Iterator[User]:
    need_mounts()
    need_programs("setpriv", "unshare", "fusermount3")
    directory = Path(tempfile.mkdtemp(prefix="scstfs-user."))
    directory.chmod(0o755)
    made = User(directory)
    try:
        yield made
    finally:
        for pid in made.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(directory)


def eventually_gone(user: User) -> bool:
    deadline = time.monotonic() + PATIENCE
    while user.processes():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_echo_and_initiators_without_privileges(user: User) -> None:
    need_programs("iscsi-ls", "qemu-io")
    done = user.run(
        EXPORT
        + """
        id -u
        iscsi-ls --show-luns "iscsi://$SCSTFS_PORTAL"
        qemu-io -f raw -c "write -P 7 0 64k" -c "read -P 7 0 64k" \
            "iscsi://$SCSTFS_PORTAL/iqn.2007-05.com.example:t/0"
        scstadmin -list_target
        scstfs status --check >/dev/null
        grep -c "LUN 0" "$SCSTFS_LOG"
        """
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(
        r"0\nTarget:iqn.2007-05.com.example:t Portal:127.0.0.1:\d+,1\nLun:0 ", done.stdout
    )
    assert "read 65536/65536" in done.stdout
    assert re.search(r"^\tiscsi +iqn.2007-05.com.example:t$", done.stdout, re.MULTILINE)
    assert (user.home / "disk").read_bytes()[:65536] == b"\7" * 65536
    assert user.left() == ["disk"]
    assert eventually_gone(user)


def test_a_configuration_in_one_command(user: User) -> None:
    user.make("disk")
    (user.home / "scst.conf").write_text(
        f"HANDLER vdisk_fileio {{ DEVICE disk {{ filename {user.home}/disk\n}} }}"
    )
    arguments = ("scstadmin", "-config", str(user.home / "scst.conf"))
    done = ended(user.start(*user.scstfs, "sandbox", *arguments))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 change" in done.stdout


def test_the_exit_status_is_the_commands(user: User) -> None:
    assert user.run("exit 7").returncode == 7
    assert user.run("kill -TERM $$").returncode == 128 + signal.SIGTERM
    done = ended(user.start(*user.scstfs, "sandbox", "nonesuch"))
    assert (done.returncode, done.stderr) == (127, "scstfs: nonesuch: No such file or directory\n")


def test_what_is_kept_goes_on(user: User) -> None:
    kept = ("--keep", str(user.home / "kept"))
    assert user.run(EXPORT, *kept).returncode == 0
    done = user.run("ls /sys/kernel/scst_tgt/devices; iscsi-ls iscsi://$SCSTFS_PORTAL", *kept)
    assert done.stdout.startswith("disk\nTarget:iqn.2007-05.com.example:t ")
    assert sorted(os.listdir(user.home / "kept")) == ["log", "state"]
    assert user.run("ls /sys/kernel/scst_tgt/devices").stdout == ""


def test_nothing_is_left_of_a_command_that_is_killed(user: User) -> None:
    hostile = """
    trap "" TERM HUP INT
    (setsid sleep 1000 &) ; mount -t tmpfs none /mnt ; echo ready ; sleep 1000 ; sleep 1000
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = user.start(*user.scstfs, "sandbox", "sh", "-c", hostile)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == (128 + number if number == signal.SIGTERM else -number)
        assert eventually_gone(user)
    assert user.left() == []


HOSTILE = {
    "kill -KILL -1; kill -KILL 1; exit 3": 3,
    "for i in 1 2 3 4; do (trap '' TERM; setsid sleep 1000) & done; "
    "kill -STOP $(pidof iscsi-scstd) $(pidof scstfs-mounter); kill -KILL $$": 128 + signal.SIGKILL,
    "exec 3>/sys/kernel/scst_tgt/threads; cd /sys/kernel/scst_tgt; "
    "umount -l /sys/kernel/scst_tgt /sys/kernel /run /proc; rm -rf /run/scstfs; exit 3": 3,
}
"""Scripts, and the exit status of each."""


def test_nothing_is_left_of_hostile_commands(user: User) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    for hostile, status in HOSTILE.items():
        done = user.run(f"trap '' TERM HUP INT; {EXPORT}\n set +e; cd /; {hostile}")
        assert done.returncode == status, hostile + done.stdout + done.stderr
        assert "Traceback" not in done.stderr, hostile
        assert eventually_gone(user), hostile
        assert user.left() == ["disk"]
        assert Path("/proc/self/mountinfo").read_text() == mounts


def test_a_target_that_runs_already_is_hidden(user: User) -> None:
    scstfs = shlex.join(user.scstfs)
    done = user.run(f"""
        {EXPORT}
        cd "$HOME"
        {scstfs} sandbox sh -ec 'ls /sys/kernel/scst_tgt/targets/iscsi; ls /sys/kernel'
        echo outside:
        ls /sys/kernel/scst_tgt/targets/iscsi
    """)
    assert done.returncode == 0, done.stderr
    inside, outside = done.stdout.split("outside:\n")
    assert "iqn.2007-05.com.example:t" in outside.split()
    assert "iqn.2007-05.com.example:t" not in inside.split()
    assert {"enabled", "scst_tgt", "debug"} <= set(inside.split())


def test_a_daemon_that_is_killed_inside_is_told(user: User) -> None:
    done = user.run(
        "kill -KILL $(pidof iscsi-scstd); sleep 0.5; ! cat /sys/kernel/scst_tgt/version"
    )
    assert done.returncode == 0
    assert "scstfs: the daemon of the sandbox has ended" in done.stderr


def test_why_there_is_no_sandbox(user: User) -> None:
    # One more namespace is allowed, in which the user is an ordinary one again. The limit is that
    # of a user namespace around it, so that of the machine stays.
    ordinary = shlex.join(["unshare", "--user", "--map-user=1", *user.scstfs, "sandbox", "true"])
    script = f"echo 1 >/proc/sys/user/max_user_namespaces && {ordinary}"
    done = ended(user.start("unshare", "--user", "--map-root-user", "sh", "-c", script))
    assert done.returncode == ExitStatus.NOT_PERMITTED
    assert done.stderr == (
        "scstfs: cannot make namespaces for a sandbox: No space left on device; "
        "the sysctl user.max_user_namespaces allows no more of them\n"
    )


def test_the_daemon_inside_says_why_it_does_not_start(user: User) -> None:
    kept = user.home / "kept"
    kept.mkdir()
    (kept / "state").write_text("no directory")
    os.chown(kept, NOBODY.pw_uid, NOBODY.pw_gid)
    done = user.run("true", "--keep", str(kept))
    assert done.returncode == ExitStatus.STATE_DIR
    assert re.fullmatch(
        rf"scstfs: the daemon of the sandbox did not start: cannot use the state directory "
        rf"{kept}/state: .*\n",
        done.stderr,
    )


def test_a_user_mounts_on_a_directory_of_theirs(user: User) -> None:
    done = user.outside(
        """
        trap 'cat log*' EXIT
        mkdir tree
        $scstfs mount --mountpoint tree --portal 127.0.0.1:0 2>log & daemon=$!
        until grep -q ready: log; do kill -0 $daemon; sleep 0.1; done
        truncate --size=1M disk
        echo "add_device disk filename=$PWD/disk" >tree/handlers/vdisk_fileio/mgmt
        kill -KILL $daemon
        ! wait $daemon
        $scstfs mount --mountpoint tree --portal 127.0.0.1:0 2>log2 & daemon=$!
        until grep -q ready: log2; do kill -0 $daemon; sleep 0.1; done
        ls tree/devices
        kill $daemon
        wait $daemon
        ls -A tree
        ls -A .local/state/scstfs
        """
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("disk\npr\nrunning.stopped\nvdev_mode_pages\n20")
    assert eventually_gone(user)


def test_a_user_does_not_mount_where_only_root_may(user: User) -> None:
    done = user.outside("$scstfs mount")
    assert done.returncode == ExitStatus.NOT_PERMITTED
    assert "must be run by root to mount on /sys/kernel/scst_tgt; " in done.stderr
