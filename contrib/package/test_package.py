"""The life of a Debian package: installed, configured, upgraded, restarted, removed.

The tests of the first class follow one machine, so they need each other, in this order.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from contrib.package.conftest import NEWER, Builds
from contrib.package.machine import REPOSITORY, Machine
from contrib.package.session import KEY
from scstfs import __version__
from scstfs.privileges import USES

TARGET: Final = "iqn.2007-05.com.example:disk1"
TREE: Final = "/sys/kernel/scst_tgt"
PID: Final = "cat /run/iscsi-scstd.pid"
METRICS: Final = "127.0.0.1:9860"
FETCH: Final = (
    "/usr/lib/scstfs/bin/python3 -I -c 'import sys, urllib.request; "
    "print(urllib.request.urlopen(sys.argv[1], timeout=30).read().decode())'"
)
"""The machine has no program for it."""
CONFIGURATION: Final = f"""
HANDLER vdisk_fileio {{
    DEVICE disk1 {{
        filename /srv/disk1
    }}
}}
TARGET_DRIVER iscsi {{
    enabled 1
    TARGET {TARGET} {{
        LUN 0 disk1
        enabled 1
    }}
}}
"""


def test_lintian_finds_no_error(builds: Builds) -> None:
    argv = ["lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", str(builds.deb)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@contextmanager
def session(machine: Machine) -> Iterator[subprocess.Popen[str]]:
    """An initiator that uses the disk all the time; see `contrib.package.session`."""
    argv = [sys.executable, "-m", "contrib.package.session", TARGET]
    with subprocess.Popen(
        machine.inside(*argv, network_only=True),
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> int:
    """Let a session end, and return how many blocks it has verified."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return int(output)


def keys(machine: Machine) -> list[int]:
    """The reservation keys that an initiator sees."""
    code = f"from contrib.package.session import keys, log_in\nprint(*keys(log_in({TARGET!r})))"
    argv = machine.inside(sys.executable, "-c", code, network_only=True)
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def is_served(machine: Machine) -> bool:
    return f" {TREE} fuse.scstfs " in machine.run("cat /proc/mounts")


@pytest.fixture(scope="module")
def machine(directory: Path, bare: Machine, builds: Builds) -> Machine:
    """A machine with the package, which is not running."""
    machine = bare.copy(directory / "machine")
    for deb in builds.deb, builds.newer_deb:
        machine.path("/root").joinpath(deb.name).write_bytes(deb.read_bytes())
    # Another trio than ours, and one that an administrator has installed.
    machine.prepare(f"apt-get -q -y install systemd libiscsi-bin /root/{builds.deb.name}")
    (versions,) = machine.path("/usr/local/lib").glob("python3.*")
    for place in machine.path("/usr/lib/python3"), versions:
        (place / "dist-packages").mkdir(exist_ok=True)
        (place / "dist-packages" / "trio.py").write_text("raise SystemExit('the wrong trio')\n")
    return machine


class TestLife:
    """One machine, running."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _running(cls, machine: Machine) -> Iterator[None]:
        with machine.booted():
            yield

    def test_the_target_runs_and_exports_nothing(self, machine: Machine) -> None:
        assert machine.run("systemctl is-active scst").strip() == "active"
        assert machine.run("scstfs --version").split() == ["scstfs", __version__]
        assert is_served(machine)
        assert "iqn." not in machine.run("scstadmin -list_target")

    def test_the_unit_confines_it(self, machine: Machine) -> None:
        status = machine.run(f"cat /proc/$({PID})/status")
        found = dict(line.split(":\t", 1) for line in status.splitlines())
        assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "1")
        allowed = sum(1 << capability for capability in USES)
        for kind in ("CapPrm", "CapEff", "CapBnd"):
            assert int(found[kind], 16) & ~allowed == 0, kind

    def test_its_libraries_are_its_own(self, machine: Machine) -> None:
        code = "import trio, sys; print(trio.__file__, *sys.path)"
        # As programs do, and as the sandbox starts the daemon.
        found = machine.run(f"/usr/lib/scstfs/bin/python3 -P -c '{code}'")
        assert found.startswith("/usr/lib/scstfs/lib/python3")
        assert "dist-packages" not in found

    def test_an_ordinary_user_has_a_sandbox(self, machine: Machine) -> None:
        # Debian's rules for devices would give it to all users.
        os.mknod(machine.path("/root/fuse"), stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
        machine.path("/root/fuse").chmod(0o666)
        machine.run("useradd --create-home user; mount --bind /root/fuse /dev/fuse")
        found = machine.run("su - user -c 'scstfs sandbox scstadmin -list_handler'")
        assert "vdisk_fileio" in found
        machine.run("umount /dev/fuse")

    def test_it_is_configured_by_the_file(self, machine: Machine) -> None:
        machine.path("/etc/scst.conf").write_text(CONFIGURATION)
        machine.run("truncate --size=16M /srv/disk1; systemctl reload scst")
        assert TARGET in machine.run("iscsi-ls --show-luns iscsi://127.0.0.1")
        machine.run(f"iscsi-inq iscsi://127.0.0.1/{TARGET}/0")
        assert "disk1" in machine.run("scstadmin -list_device")

    def test_the_unit_allows_metrics_and_a_cluster(self, machine: Machine) -> None:
        options = machine.path("/etc/default/scstfs")
        before = options.read_text()
        # Nothing listens on the port of etcd.
        wanted = f"--metrics {METRICS} --etcd http://127.0.0.1:9 --node a"
        options.write_text(f'SCSTFS_OPTIONS="{wanted}"\n')
        machine.run("systemctl restart scst")
        found = machine.run(f"{FETCH} http://{METRICS}/metrics")
        assert "\nscst_up 1.0\n" in found
        assert f'\nscst_target_enabled{{driver="iscsi",target="{TARGET}"}} 1.0\n' in found
        # The exporter is confined as the daemon is.
        status = machine.run(
            f"cat /proc/$(cat /proc/$({PID})/task/*/children | cut -d ' ' -f 1)/status"
        )
        assert "\nSeccomp:\t2\n" in status
        machine.run(f"echo passive >{TREE}/cluster_name")
        said = "cluster passive: shared units cannot be served: etcd does not answer"
        machine.run(f"until journalctl -u scst | grep -q '{said}'; do sleep 0.2; done; sleep 2")
        journal = machine.run("journalctl -u scst -o cat")
        assert journal.count("etcd") == journal.count(said) == 1, journal
        assert "Traceback" not in journal
        options.write_text(before)
        machine.run("systemctl restart scst")

    def test_an_upgrade_leaves_sessions_open(self, machine: Machine, builds: Builds) -> None:
        before = machine.run(PID)
        with session(machine) as process:
            output = machine.run(f"dpkg --install /root/{builds.newer_deb.name} </dev/null")
            verified = end(process)
        assert verified > 0
        assert "systemctl restart scst" in output
        assert machine.run(PID) == before
        assert machine.run("scstfs --version").split() == ["scstfs", NEWER]
        assert machine.path("/etc/scst.conf").read_text() == CONFIGURATION
        # The old daemon does what it has not done before, for the new programs, too.
        machine.run(f"truncate --size=1M /srv/disk2; cd {TREE}/handlers/vdisk_fileio; "
                    "echo 'add_device disk2 filename=/srv/disk2' >mgmt; "
                    "echo 'del_device disk2' >mgmt")  # fmt: skip
        machine.run("scstfs config diff /etc/scst.conf; scstfs status")
        assert keys(machine) == [KEY]

    def test_a_restart_is_the_new_version_with_the_old_state(self, machine: Machine) -> None:
        before = machine.run(PID)
        machine.run("systemctl restart scst")
        assert machine.run(PID) != before
        assert keys(machine) == [KEY]

    def test_a_daemon_that_is_killed_is_back(self, machine: Machine) -> None:
        before = machine.run(PID)
        machine.run(f"kill -KILL $({PID})")
        machine.run(f"until [ \"$({PID} 2>/dev/null)\" != '{before.strip()}' ] && "
                    "systemctl is-active --quiet scst; do sleep 0.2; done")  # fmt: skip
        assert keys(machine) == [KEY]


def test_a_reboot_serves_the_same(machine: Machine) -> None:
    with machine.booted():
        assert keys(machine) == [KEY]


def test_removal_closes_and_unmounts_but_keeps(machine: Machine, builds: Builds) -> None:
    with machine.booted():
        with session(machine) as process:
            machine.run("dpkg --remove scstfs")
            assert process.wait(30) != 0  # its session is closed
        assert not is_served(machine)
        assert "scst_tgt" not in machine.run("ls /sys/kernel; cat /proc/mounts")
        machine.run("! [ -e /run/iscsi-scstd.pid ] && ! systemctl is-active scst")
        assert not machine.path("/usr/lib/scstfs").exists()
        assert machine.path("/etc/scst.conf").read_text() == CONFIGURATION
        # It comes back as it was.
        machine.run(f"dpkg --install /root/{builds.newer_deb.name} </dev/null")
        assert keys(machine) == [KEY]


def test_purging_keeps_state_unless_it_is_told(machine: Machine, builds: Builds) -> None:
    state, disk = machine.path("/var/lib/scst"), machine.path("/srv/disk1")
    with machine.booted():
        machine.run("DEBIAN_FRONTEND=noninteractive dpkg --purge scstfs")
        assert any(state.iterdir())
        assert not machine.path("/etc/scst.conf").exists()
        machine.run(f"dpkg --install /root/{builds.newer_deb.name} </dev/null")
        machine.run("echo scstfs scstfs/purge-state boolean true | debconf-set-selections")
        machine.run("DEBIAN_FRONTEND=noninteractive dpkg --purge scstfs")
        assert not state.exists()
        assert not is_served(machine)
        left = machine.run("find / -xdev -path '*scstfs*' -not -path '/root/*' -not -path '/proc/*'"
                           " -not -path '/scstfs*' -not -path '/var/log/*'"
                           " -not -path '/var/lib/systemd/*'")  # fmt: skip
        assert left == ""
    assert disk.stat().st_size == 16 << 20


def test_removal_without_systemd_unmounts_what_was_started_by_hand(
    directory: Path, bare: Machine, builds: Builds
) -> None:
    machine = bare.copy(directory / "by-hand")
    machine.path("/root").joinpath(builds.deb.name).write_bytes(builds.deb.read_bytes())
    output = machine.prepare(
        f"apt-get -q -y install --no-install-recommends /root/{builds.deb.name}\n"
        "mkdir /tree\n"
        "scstfs mount --background --portal 127.0.0.1:0 --mountpoint /tree\n"
        "grep -q ' /tree fuse.scstfs ' /proc/mounts\n"
        "dpkg --remove scstfs\n"
        "! grep fuse.scstfs /proc/mounts\n"
        "echo unmounted\n"
    )
    assert output.splitlines()[-2] == "unmounted"


def test_it_can_be_removed_when_nothing_runs(
    directory: Path, bare: Machine, builds: Builds
) -> None:
    machine = bare.copy(directory / "idle")
    machine.path("/root").joinpath(builds.deb.name).write_bytes(builds.deb.read_bytes())
    machine.prepare(
        f"apt-get -q -y install --no-install-recommends /root/{builds.deb.name}\n"
        "scstfs --version; scstadmin -help >/dev/null; iscsi-scstd --version\n"
        "apt-get -q -y purge scstfs\n"
    )
    assert not machine.path("/usr/lib/scstfs").exists()


def test_it_does_not_go_with_scsts_own_packages(builds: Builds) -> None:
    done = subprocess.run(
        ["dpkg-deb", "--field", builds.deb, "Conflicts"], check=True, capture_output=True, text=True
    )
    assert {"scst", "iscsi-scst", "scstadmin"} <= set(done.stdout.strip().split(", "))
