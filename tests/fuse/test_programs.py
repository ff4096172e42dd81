"""A mounted tree under ordinary programs: shells, find, tree, cp, other users, many at once."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.mounted import Mounted
from tests.support.needs import need_programs
from tests.support.waiting import wait_until

NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --"


def in_thread(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


# --- the shell ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("cat devices/disk1/threads_num", "8\n"),
        ("read -r line <devices/disk2/read_only; echo $line", "1\n"),
        ("head -n 1 devices/disk1/IncomingUser", "u1 secret\n"),
        ("echo 1 >devices/disk2/read_only && echo done", "done\n"),
        ("printf 1 >>devices/disk2/read_only && echo done", "done\n"),
        ("echo 2 >devices/disk2/read_only || echo refused", "refused\n"),
        ("echo 1 >devices/disk1/type || echo refused", "refused\n"),
        ("cat devices/disk1/sync || echo refused", "refused\n"),
        ("echo x >nothing || echo refused", "refused\n"),
        ("readlink devices/disk1/group outside", "../../groups/all!disk1\n../module/scst\n"),
        ("cat groups/all!disk1/type", "0 - disk\n"),
        ("cd groups/all!disk1 && cat ../disk2/type", "0 - disk\n"),
        ("stat -c '%s %A' devices/disk1/sync", "4096 --w-------\n"),
        ("stat -c '%s %A %h' devices", "0 drwxr-xr-x 4\n"),
        ("ls -a gate_a", ".\n..\nenter\nopen\nwaiting\n"),
        ("ls -l gate_a | wc -l", "4\n"),
        ("test -w devices/mgmt && test ! -e devices/x && test -L outside && echo yes", "yes\n"),
        ("find devices -name 'Incoming*' | sort | tail -n 1", "devices/disk1/IncomingUser1\n"),
        ("find . -type l | wc -l", "6\n"),
        ("find . -type d | wc -l", "7\n"),
        ("find devices -perm 200", "devices/disk1/sync\ndevices/disk2/sync\n"),
        ("wc -c devices/disk1/type", "9 devices/disk1/type\n"),
        ("dd if=devices/disk1/type bs=1 skip=4 2>/dev/null", "disk\n"),
        ("tail -c 5 devices/disk1/type", "disk\n"),
        ("grep -rs 'u2 sec' devices | wc -l", "1\n"),
        ("df . | tail -n 1 | awk '{print $1, $2}'", "scst_tgt 0\n"),
    ],
)
def test_shell(shared: Mounted, script: str, output: str) -> None:
    assert shared.sh(script).stdout == output


def test_tree(shared: Mounted) -> None:
    need_programs("tree")
    out = shared.sh("tree --noreport devices/disk2").stdout
    assert out.splitlines() == [
        "devices/disk2",
        "|-- group -> ../../groups/all!disk2",
        "|-- no_store",
        "|-- read_only",
        "|-- sync",
        "|-- threads_num",
        "`-- type",
    ]


def test_copying_the_whole_tree(shared: Mounted, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    result = shared.sh(f"cp -r . {copy}")
    refused = {line.split("'")[1] for line in result.stderr.splitlines()}
    assert refused == {
        "./crash",
        "./crash_store",
        "./devices/disk1/sync",
        "./devices/disk2/sync",
        "./gate_a/enter",
        "./gate_a/open",
        "./gate_b/enter",
        "./gate_b/open",
    }
    assert (copy / "devices/disk1/IncomingUser1").read_text() == "u2 secret\n[key]\n\n"
    assert (copy / "devices/disk1/comment").read_text() == ""
    assert len((copy / "renders").read_text().splitlines()) == 200
    assert os.readlink(copy / "devices/disk1/group") == "../../groups/all!disk1"


# --- others than root ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "allowed"),
    [
        ("ls -lR devices", True),
        ("cat devices/disk1/threads_num", True),
        ("cat devices/mgmt", True),
        ("echo 9 >devices/disk1/threads_num", False),
        ("echo add x >devices/mgmt", False),
        ("cat devices/disk1/IncomingUser", False),
        ("echo 1 >devices/disk1/sync", False),
        ("chmod 666 devices/mgmt", False),
        ("touch devices/new", False),
        ("mkdir devices/new", False),
        ("rm -f devices/disk1/type", False),
    ],
)
def test_nobody_may_look_but_not_touch(shared: Mounted, script: str, allowed: bool) -> None:
    result = shared.sh(f"exec {NOBODY} sh -c '{script}'")
    assert (result.returncode == 0) is allowed, result.stderr
    if not allowed:
        assert "ermission denied" in result.stderr or "not permitted" in result.stderr


# --- many at once -------------------------------------------------------------------------------


def test_a_slow_command_holds_up_nothing_else(toy: Mounted) -> None:
    codes: list[int] = []

    def enter(gate: str) -> None:
        codes.append(toy.write(f"{gate}/enter", b"1"))

    slow = [in_thread(partial(enter, gate)) for gate in ("gate_a", "gate_b")]
    wait_until(lambda: toy.read("gate_a/waiting") == toy.read("gate_b/waiting") == "1\n")
    assert toy.read("devices/disk1/type") == "0 - disk\n"
    assert toy.write("devices/mgmt", b"add d3") == 6
    assert toy.sh("ls gate_a; stat -c %s gate_a/enter").stdout == "enter\nopen\nwaiting\n4096\n"
    descriptor = os.open(toy.path / "last_sysfs_mgmt_res", os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        os.read(descriptor, 10)
    toy.write("gate_b/open", b"1")
    slow[1].join(10)
    assert codes == [1]
    toy.write("gate_a/open", b"1")
    slow[0].join(10)
    assert codes == [1, 1]
    assert os.read(descriptor, 10) == b"0\n"
    os.close(descriptor)


def test_writers_of_one_file_come_one_after_the_other(toy: Mounted) -> None:
    """FUSE takes the inode's lock for a write, so the kernel itself makes the second wait."""
    codes: list[int] = []
    writers = [in_thread(lambda: codes.append(toy.write("gate_a/enter", b"1"))) for _ in range(3)]
    for done in (1, 2, 3):
        wait_until(lambda: toy.read("gate_a/waiting") == "1\n")
        toy.write("gate_a/open", b"1")
        wait_until(partial(lambda done: len(codes) >= done, done))
        assert len(codes) == done
    for writer in writers:
        writer.join(10)
    assert codes == [1, 1, 1]


def test_background_commands_of_a_shell(toy: Mounted) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do echo add w$i >devices/mgmt & done; wait; ls devices"
    names = set(toy.sh(script).stdout.split())
    assert {f"w{i}" for i in range(1, 9)} <= names


def test_fifty_readers(shared: Mounted) -> None:
    # Not cat: some splice, which Linux serves from a page cache that all readers share.
    readers = [shared.popen("exec dd if=renders bs=64K status=none") for _ in range(50)]
    for reader in readers:
        out, err = reader.communicate(timeout=30)
        lines = [line.split() for line in out.splitlines()]
        assert err == ""
        assert [int(line) for _, line in lines] == list(range(200))
        assert len({render for render, _ in lines}) == 1


# --- what goes while it is held -----------------------------------------------------------------


def test_a_shell_in_a_directory_whose_object_goes(toy: Mounted) -> None:
    script = (
        "cd devices/disk1; exec 3<>threads_num; echo ready; read -r go;"
        "ls; echo ls $?; cat type; echo cat $?; echo 9 >&3; echo write $?;"
        "cat <&3; echo read $?; echo x >new; echo create $?; cd ..; ls; exec 3<&-; echo bye"
    )
    with toy.popen(script) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "ready\n"
        toy.write("devices/mgmt", b"del disk1")
        out, err = shell.communicate("go\n", timeout=30)
    assert out.splitlines() == [
        "ls 0",
        "cat 1",
        "write 1",
        "read 1",
        "create 2",
        "disk2",
        "mgmt",
        "bye",
    ]
    assert err.count("No such file or directory") == 1
    assert err.count("No such device") == 1
    assert toy.read("devices/disk2/type") == "0 - disk\n"


def test_descriptors_of_what_is_gone(toy: Mounted) -> None:
    directory = os.open(toy.path / "devices/disk1", os.O_RDONLY)
    fresh, begun = (os.open("threads_num", os.O_RDWR, dir_fd=directory) for _ in range(2))
    assert os.read(begun, 1) == b"8"
    toy.write("devices/mgmt", b"del disk1")
    toy.write("devices/mgmt", b"add disk1")
    assert os.read(begun, 10) == b"\n"
    for action in (
        lambda: os.read(begun, 10),
        lambda: os.read(fresh, 10),
        lambda: os.write(fresh, b"9"),
        lambda: os.open(f"/proc/self/fd/{fresh}", os.O_RDONLY),
    ):
        with pytest.raises(OSError, match="No such device") as error:
            action()
        assert error.value.errno == errno.ENODEV
    assert os.fstat(fresh).st_size == 4096
    assert os.listdir(directory) == []
    with pytest.raises(FileNotFoundError):
        os.open("type", os.O_RDONLY, dir_fd=directory)
    for descriptor in (directory, fresh, begun):
        os.close(descriptor)
    assert toy.read("devices/disk1/threads_num") == "8\n"


def test_listing_while_entries_come_and_go(toy: Mounted) -> None:
    toy.write("devices/mgmt", b"fill 3000")
    with os.scandir(toy.path / "devices") as entries:
        seen = [next(entries).name for _ in range(10)]
        for number in (0, 2500, 2999):
            toy.write("devices/mgmt", b"del d%05d" % number)
        toy.write("devices/mgmt", b"add later")
        seen += [entry.name for entry in entries]
    assert len(seen) == len(set(seen))
    assert {f"d{number:05}" for number in range(1, 2500)} <= set(seen)
    assert "later" in os.listdir(toy.path / "devices")
    assert "d02500" not in os.listdir(toy.path / "devices")


# --- counting -----------------------------------------------------------------------------------


def counts(toy: Mounted) -> list[int]:
    """Inodes and lookups of them, files, directories."""
    inodes, files, directories = json.loads(toy.read("statistics"))
    return [*inodes[:2], files, directories]


def cpu_seconds(toy: Mounted) -> float:
    """The CPU time of the daemon so far."""
    fields = Path(f"/proc/{toy.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_lookups_are_given_back(toy: Mounted) -> None:
    """A remount has the kernel drop its cache, and so return every count it holds.

    (Unmounting would not show it: the connection is cut before the inodes are dropped.)
    """
    # Newer programs use fsconfig(2), for which FUSE has no remount.
    remount = f"LIBMOUNT_FORCE_MOUNT2=always mount -i -o remount {toy.mountpoint}"
    toy.sh("find . -ls; ls -lR; cat devices/*/type; echo add x >devices/mgmt")
    toy.sh("ls; cd devices/disk1; ls ..; cat nothing nothing/else; cat ../x/type")
    entries = toy.sh("find .").stdout.splitlines()
    assert "./devices/x/type" in entries
    assert counts(toy)[0] == len(entries)
    toy.write("devices/mgmt", b"del disk1")
    assert toy.sh(remount).returncode == 0
    # The remaining inodes: the root, and the file just being read.
    wait_until(lambda: counts(toy) == [2, 1, 1, 0])


def test_what_is_gone_is_dropped_without_being_asked_for(toy: Mounted) -> None:
    """A session long over must not be kept by the kernel's memory of its directory."""
    toy.write("devices/mgmt", b"fill 25")
    assert len(toy.sh("find devices").stdout.splitlines()) > 200
    before = counts(toy)[0]
    for number in range(25):
        toy.write("devices/mgmt", b"del d%05d" % number)
    for _ in range(2):
        # New inodes have the old ones examined, two each.
        toy.write("devices/mgmt", b"fill 25")
        toy.sh("find devices")
    wait_until(lambda: counts(toy)[0] < before + 20)


@pytest.mark.slow
def test_reading_five_thousand_entries(toy: Mounted) -> None:
    """What an entry costs does not grow with their number: 3 ms of the daemon's would be much."""
    toy.write("devices/mgmt", b"fill 650")
    before = cpu_seconds(toy)
    lines = toy.sh("grep -rs . devices | wc -l").stdout
    seconds = cpu_seconds(toy) - before
    assert counts(toy)[0] > 5000
    assert int(lines) > 2500
    assert seconds < 15


# --- the end ------------------------------------------------------------------------------------


def test_the_hosts_mounts_are_untouched_and_a_shell_inside_does_not_matter(toy: Mounted) -> None:
    assert str(toy.mountpoint) not in Path("/proc/self/mountinfo").read_text()
    with toy.popen("cd devices/disk1; echo ready; read -r go; cat type") as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "ready\n"
        assert toy.stop() == 0
        _, err = shell.communicate("go\n", timeout=30)
    assert "not connected" in err
    assert toy.lines[-1].startswith("STATISTICS")
    assert subprocess.run(["mountpoint", "-q", str(toy.mountpoint)], check=False).returncode == 32


def test_a_program_that_does_not_mount_is_an_error_of_the_test(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="did not get ready:\nno"):
        Mounted(["sh", "-c", "echo no; exit 1"], tmp_path, ready="READY")
