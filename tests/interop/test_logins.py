"""How libiscsi's programs and QEMU log in: names and passwords, digests, addresses, discovery."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.interop.storage import TARGET, Storage, storage
from tests.support.needs import lacking, need_programs
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

OPEN: Final = "iqn.2005-03.org.example:open"
USER, SECRET = "joe", "12charsecret"
OUR_USER, OUR_SECRET = "storage", "another12345"
LOGIN: Final = f"{USER}%{SECRET}"
MUTUAL: Final = f"target_user={OUR_USER}&target_password={OUR_SECRET}"

REFUSALS: Final = r"refused|failed|not authenticate|authentication"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """A target for all initiators and one that requires a name and a password."""
    need_programs("iscsi-ls", "iscsi-inq", "qemu-io")
    directory = tmp_path_factory.mktemp("logins")
    portals = ["127.0.0.1:0"] + ["[::1]:0"] * has_ipv6()
    with storage(directory, *portals, expected=REFUSALS) as served:
        served.add_target(OPEN, served.add_disk(directory / "open"))
        served.write(f"targets/iscsi/{OPEN}/HeaderDigest", "CRC32C,None")
        served.add_target(TARGET, served.add_disk(directory / "closed"))
        served.write(
            "targets/iscsi/mgmt",
            f"add_target_attribute {TARGET} IncomingUser {USER} {SECRET}",
            f"add_target_attribute {TARGET} OutgoingUser {OUR_USER} {OUR_SECRET}",
        )
        yield served


def has_ipv6() -> bool:
    return "00000000000000000000000000000001 " in Path("/proc/net/if_inet6").read_text()


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if "LIBISCSI" not in name}
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=50, check=False, env=environment
    )


def succeeds(*argv: str) -> str:
    done = run(*argv)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fails(*argv: str) -> None:
    done = run(*argv)
    assert done.returncode != 0, done.stdout


@pytest.mark.parametrize("query", ["", MUTUAL], ids=["one way", "mutual"])
def test_chap_with_libiscsi(served: Storage, query: str) -> None:
    assert "SCST_FIO" in succeeds("iscsi-inq", served.url(login=LOGIN, query=query))


@pytest.mark.parametrize(
    ("login", "query"),
    [
        ("", ""),
        (f"{USER}%wrong-secret", ""),
        (f"jim%{SECRET}", ""),
        (LOGIN, f"target_user={OUR_USER}&target_password=somebody-else"),
        (LOGIN, f"target_user=other&target_password={OUR_SECRET}"),
    ],
    ids=["nothing", "wrong password", "wrong name", "not our password", "not our name"],
)
def test_chap_that_is_refused(served: Storage, login: str, query: str) -> None:
    fails("iscsi-inq", served.url(login=login, query=query))


@pytest.mark.parametrize("login", ["", LOGIN], ids=["open", "chap"])
def test_qemu_reads_what_it_wrote(served: Storage, login: str) -> None:
    url = served.url(TARGET if login else OPEN, login=login)
    commands = ("write -P 0x5a 64k 1M", "write -z 256k 64k", "flush", "read -P 0x5a 64k 192k",
                "read -P 0 256k 64k", "discard 512k 512k")  # fmt: skip
    argv = [word for command in commands for word in ("-c", command)]
    done = run("qemu-io", "-f", "raw", *argv, url)
    assert done.returncode == 0, done.stderr
    assert "Pattern verification failed" not in done.stdout
    fails("qemu-io", "-f", "raw", "-c", "read 0 4k", served.url(login=f"{USER}%wrong-secret"))


def test_a_read_of_the_wrong_pattern_is_noticed(served: Storage) -> None:
    done = run("qemu-io", "-f", "raw", "-c", "read -P 0x77 32M 4k", served.url(OPEN))
    assert "Pattern verification failed" in done.stdout + done.stderr


@contextlib.contextmanager
def session(served: Storage, **options: str) -> Iterator[str]:
    """QEMU's session with the target for all; yields its directory in the tree."""
    given = {"portal": served.portal, **options}
    image = f"driver=iscsi,transport=tcp,target={OPEN},lun=0"
    image += "".join(f",{name}={text}" for name, text in given.items())
    with subprocess.Popen(
        ["qemu-io", "--image-opts", image],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("read 0 512\n")
        process.stdin.flush()
        output = ""
        while "read 512/512" not in output:
            output += (line := process.stdout.readline())
            assert line, output
        sessions = f"targets/iscsi/{OPEN}/sessions"
        (name,) = os.listdir(served.running.path / sessions)
        yield f"{sessions}/{name}"
        process.communicate("quit\n", timeout=50)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("offer", "digest"),
    [("crc32c", "CRC32C"), ("crc32c-none", "CRC32C"), ("none-crc32c", "CRC32C"), ("none", "None")],
)
def test_header_digests(served: Storage, offer: str, digest: str) -> None:
    # SCST takes the digest whenever both sides have it.
    with session(served, **{"header-digest": offer}) as path:
        assert served.read(f"{path}/HeaderDigest") == digest


def test_libiscsi_with_a_header_digest(served: Storage) -> None:
    assert "SCST_FIO" in succeeds("iscsi-inq", served.url(OPEN, query="header_digest=crc32c"))


def test_ipv6(served: Storage) -> None:
    if not has_ipv6():
        lacking("needs an IPv6 loopback address")
    portal = served.portals[1]
    assert "SCST_FIO" in succeeds("iscsi-inq", served.url(OPEN, portal=portal))
    assert "SCST_FIO" in succeeds("iscsi-inq", served.url(portal=portal, login=LOGIN))
    assert f"Portal:{portal}" in succeeds("iscsi-ls", f"iscsi://{portal}")
    with session(served, portal=portal) as path:
        # As the kernel writes addresses, in full.
        assert f"[{'0000:' * 7}0001]" in os.listdir(served.running.path / path)


def test_discovery_of_targets_for_everybody(served: Storage) -> None:
    found = succeeds("iscsi-ls", f"iscsi://{served.portal}")
    assert f"Target:{OPEN} Portal:{served.portal}" in found
    assert f"Target:{TARGET} " in found


def test_discovery_with_a_name_and_a_password(served: Storage) -> None:
    attribute = "IncomingUser disco discovery-secret"
    served.write("targets/iscsi/mgmt", f"add_attribute {attribute}")
    try:
        fails("iscsi-ls", f"iscsi://{served.portal}")
        fails("iscsi-ls", f"iscsi://disco%wrong-secret-12@{served.portal}")
        # A name that is good for a target is not for discovery.
        fails("iscsi-ls", f"iscsi://{LOGIN}@{served.portal}")
        assert OPEN in succeeds("iscsi-ls", f"iscsi://disco%discovery-secret@{served.portal}")
    finally:
        served.write("targets/iscsi/mgmt", f"del_attribute {attribute}")
    assert OPEN in succeeds("iscsi-ls", f"iscsi://{served.portal}")


def test_whoever_comes_while_logins_are_suspended_is_told_so(served: Storage) -> None:
    os.kill(served.running.pid, signal.SIGUSR1)
    try:
        wait_until(lambda: "logins are suspended" in served.running.log)
        done = run("timeout", "20", "iscsi-ls", f"iscsi://{served.portal}")
        assert "Service unavailable" in done.stdout + done.stderr, done
        fails("iscsi-inq", served.url(OPEN))
    finally:
        os.kill(served.running.pid, signal.SIGUSR2)
    wait_until(lambda: "logins are resumed" in served.running.log)
    assert OPEN in succeeds("iscsi-ls", f"iscsi://{served.portal}")
