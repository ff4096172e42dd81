"""CHAP from the tree to the wire: RFC 7143 12.1.3."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.drivers.iscsi import connect
from scstfs.iscsi import chap as chap_module
from scstfs.sysfs.errors import SysfsError
from tests.support.initiator import ClosedError
from tests.support.iscsi_login import SECURITY, Chap, LoginError, decode_binary
from tests.support.live_target import TARGET, LiveTarget
from tests.support.needs import need_programs

V4, V6 = "127.0.0.1", "::1"
DRIVER = "targets/iscsi"
SECRETS = {"joe": "joes-secret-1", "ann": "anns-secret-2", "disk": "disk-secret-3"}
FINDER, FINDER_SECRET = "finder", "discovery-4-secret"
AUTHENTICATION_FAILURE, INITIATOR_ERROR = 0x0201, 0x0200
REFUSED = pytest.mark.logs("login of .* refused: ")

#: Names of algorithms (CHAP_A).
MD5, SHA1, SHA256, SHA3_256 = "5", "6", "7", "8"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveTarget]:
    """A target with two users and an outgoing user, and one user for discovery."""
    with LiveTarget(tmp_path, (V4, V6)) as live:
        live.add_target()
        for attribute, user in (
            ("IncomingUser", "joe"),
            ("IncomingUser", "ann"),
            ("OutgoingUser", "disk"),
        ):
            manage(live, f"add_target_attribute {TARGET} {attribute} {user} {SECRETS[user]}")
        manage(live, f"add_attribute IncomingUser {FINDER} {FINDER_SECRET}")
        yield live


def manage(live: LiveTarget, command: str) -> None:
    live.write(f"{DRIVER}/mgmt", f"{command}\n")


def status(live: LiveTarget, chap: Chap | None, target: str | None = TARGET) -> int:
    """Of a login; 0 for success, after which the initiator has no complaints."""
    with live.initiator() as initiator:
        try:
            initiator.login(target, chap=chap)
        except LoginError as refusal:
            return refusal.status
        assert initiator.complaints == []
        return initiator.logout()


def joe(algorithms: str = MD5, *, mutual: bool = False, secret: str = SECRETS["joe"]) -> Chap:
    target_secret = SECRETS["disk"].encode() if mutual else None
    return Chap("joe", secret.encode(), algorithms, target_secret)


@pytest.mark.parametrize("mutual", [False, True], ids=["one-way", "mutual"])
@pytest.mark.parametrize("algorithm", [MD5, SHA1, SHA256, SHA3_256])
def test_every_algorithm_authenticates(live: LiveTarget, algorithm: str, mutual: bool) -> None:
    assert status(live, joe(algorithm, mutual=mutual)) == 0


@pytest.mark.parametrize(
    ("offered", "taken"),
    [("5,6,7,8", MD5), ("7,5,6", SHA256), ("8,5", SHA3_256), ("1,6,5", SHA1)],
)
def test_the_first_algorithm_that_we_know_is_taken(
    live: LiveTarget, offered: str, taken: str
) -> None:
    with live.initiator() as initiator:
        initiator.login(TARGET, chap=joe(offered))
        assert initiator.keys["CHAP_A"] == taken


@REFUSED
def test_users_come_and_go(live: LiveTarget) -> None:
    ann = Chap("ann", SECRETS["ann"].encode())
    assert (status(live, joe()), status(live, ann)) == (0, 0)
    manage(live, f"del_target_attribute {TARGET} IncomingUser joe")
    assert (status(live, joe()), status(live, ann)) == (AUTHENTICATION_FAILURE, 0)
    live.write(f"{DRIVER}/{TARGET}/IncomingUser1", "ann another-secret\n")
    assert status(live, ann) == AUTHENTICATION_FAILURE
    assert status(live, Chap("ann", b"another-secret")) == 0
    manage(live, f"del_target_attribute {TARGET} IncomingUser ann")
    # Without users, initiators need not and cannot authenticate.
    assert status(live, None) == 0


@REFUSED
@pytest.mark.parametrize(
    ("chap", "code"),
    [
        (None, AUTHENTICATION_FAILURE),
        (joe(secret="wrong-secret-1"), AUTHENTICATION_FAILURE),
        (joe(secret=""), AUTHENTICATION_FAILURE),
        (Chap("nobody", b""), AUTHENTICATION_FAILURE),
        (Chap("JOE", SECRETS["joe"].encode()), AUTHENTICATION_FAILURE),
        (Chap(FINDER, FINDER_SECRET.encode()), AUTHENTICATION_FAILURE),
        (Chap("disk", SECRETS["disk"].encode()), AUTHENTICATION_FAILURE),
    ],
)
def test_nobody_else_gets_in(live: LiveTarget, chap: Chap | None, code: int) -> None:
    assert status(live, chap) == code


@REFUSED
def test_discovery_has_users_of_its_own(live: LiveTarget) -> None:
    assert status(live, None, None) == AUTHENTICATION_FAILURE
    assert status(live, joe(), None) == AUTHENTICATION_FAILURE
    finder = Chap(FINDER, FINDER_SECRET.encode())
    with live.initiator() as initiator:
        initiator.login(None, chap=finder)
        assert list(initiator.send_targets()) == [TARGET]
    # Both ways needs a name of the driver's.
    both = Chap(FINDER, FINDER_SECRET.encode(), SHA256, b"driver-secret-5")
    assert status(live, both, None) == AUTHENTICATION_FAILURE
    manage(live, "add_attribute OutgoingUser driver driver-secret-5")
    assert status(live, both, None) == 0


@REFUSED
def test_a_challenge_that_is_reflected_is_refused(live: LiveTarget) -> None:
    with live.initiator() as initiator:
        names = initiator.names(TARGET)
        initiator.login_step([*names, ("AuthMethod", "CHAP")], csg=SECURITY)
        _, answer = initiator.login_step([("CHAP_A", SHA256)], csg=SECURITY)
        ours = dict(answer)
        assert len(decode_binary(ours["CHAP_C"])) >= 16
        chap = joe(SHA256, mutual=True)
        chap.challenge = decode_binary(ours["CHAP_C"])
        with pytest.raises(LoginError) as caught:
            initiator._chap_response(chap, ours, None)
        assert caught.value.status == INITIATOR_ERROR
        assert initiator.wait_closed() == []


@pytest.mark.logs("login of .* refused: ", "internal error")
def test_secrets_are_in_no_log(
    live: LiveTarget, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "scstfs")
    monkeypatch.setattr(connect, "_incidents", logging.getLogger(connect.__name__))
    live.write("trace_level", "all\n")
    live.write(f"{DRIVER}/trace_level", "all\n")
    for refused in (
        f"add_target_attribute {TARGET} IncomingUser joe not-to-be-seen",
        f"add_target_attribute {TARGET} IncomingUser bob not-to-be",
        f"add_attribute {TARGET} IncomingUser joe not-to-be-seen",
        f"del_target_attribute {TARGET} IncomingUser nobody not-to-be-seen",
    ):
        with pytest.raises(SysfsError) as error:
            manage(live, refused)
        assert "not-to-be" not in str(error.value)
    manage(live, f"add_target_attribute {TARGET} IncomingUser eve not-to-be-seen")
    live.write(f"{DRIVER}/{TARGET}/IncomingUser2", "eve not-to-be-shown\n")
    manage(live, f"del_target_attribute {TARGET} IncomingUser eve")
    assert status(live, joe(mutual=True)) == 0
    assert status(live, joe(secret="not-to-be-taken")) == AUTHENTICATION_FAILURE

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug in the middle of it")

    with monkeypatch.context() as patch:
        patch.setattr(chap_module.Chap, "_hash", fail)
        with pytest.raises(ClosedError):
            status(live, joe())
    assert "a bug in the middle of it" in caplog.text
    assert "wrong user 'joe' or secret" in caplog.text
    for secret in (*SECRETS.values(), FINDER_SECRET, "not-to-be"):
        assert secret not in caplog.text


# Initiators of others


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def url(live: LiveTarget, user: str = "", *, host: str = V4, options: str = "") -> str:
    address = f"[{host}]" if ":" in host else host
    who = f"{user}%{SECRETS[user]}@" if user else ""
    return f"iscsi://{who}{address}:{live.port}/{TARGET}/0{options}"


MUTUAL = f"?target_user=disk&target_password={SECRETS['disk']}"
WRONG_MUTUAL = "?target_user=disk&target_password=something-else"


@pytest.mark.slow
@REFUSED
@pytest.mark.parametrize("host", [V4, V6])
def test_libiscsi_authenticates(live: LiveTarget, host: str) -> None:
    need_programs("iscsi-inq")
    assert "SCST_FIO" in run("iscsi-inq", url(live, "joe", host=host)).stdout
    assert "SCST_FIO" in run("iscsi-inq", url(live, "ann", host=host, options=MUTUAL)).stdout
    assert run("iscsi-inq", url(live, host=host)).returncode != 0
    assert run("iscsi-inq", url(live, "joe", host=host, options=WRONG_MUTUAL)).returncode != 0


@pytest.mark.slow
@REFUSED
def test_libiscsi_discovers_with_credentials(live: LiveTarget) -> None:
    need_programs("iscsi-ls")
    server = f"127.0.0.1:{live.port}"
    found = run("iscsi-ls", f"iscsi://{FINDER}%{FINDER_SECRET}@{server}")
    assert f"Target:{TARGET} Portal:{server},1" in found.stdout
    assert run("iscsi-ls", f"iscsi://{server}").returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("host", [V4, V6])
@pytest.mark.parametrize("digest", ["none", "crc32c"])
def test_qemu_authenticates(live: LiveTarget, host: str, digest: str) -> None:
    need_programs("qemu-io")
    address = f"[{host}]" if ":" in host else host
    image = (
        f"driver=iscsi,transport=tcp,portal={address}:{live.port},target={TARGET},user=joe,"
        f"password-secret=secret,header-digest={digest}"
    )
    done = run(
        *("qemu-io", "--object", f"secret,id=secret,data={SECRETS['joe']}", "--image-opts"),
        *("-c", "write -P 90 4096 65536", "-c", "read -P 90 4096 65536", image),
    )
    assert done.returncode == 0, done.stderr
    assert "Pattern verification failed" not in done.stdout
    assert done.stdout.count("65536/65536 bytes") == 2
