"""Which user the daemon serves as, and what it hands over to that user."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from scstfs import capabilities, privileges
from scstfs.capabilities import Capability
from scstfs.errors import ExitStatus, UsageError, described
from scstfs.privileges import Account
from tests.support.namespace import fork
from tests.support.needs import lacking

JOE = Account("joe", 54321, 54322)
OTHER = 54323


@pytest.fixture
def _root() -> None:
    if os.geteuid() != 0:
        lacking("needs root")


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("games", Account("games", 5, 60)),
        ("5", Account("games", 5, 60)),
        ("games:daemon", Account("games", 5, 1)),
        ("games:123", Account("games", 5, 123)),
        ("54321", Account("54321", 54321, 54321)),
        ("54321:5", Account("54321", 54321, 5)),
    ],
)
def test_accounts_have_names_or_numbers(text: str, account: Account) -> None:
    assert Account.parse(text) == account


@pytest.mark.parametrize(
    "text", ["", ":", "nonesuch", "-1", "4294967295", "99999999999999999999", "games:", "games:x:y"]
)
def test_other_accounts_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"there is no (user|group) ") as refused:
        Account.parse(text)
    assert refused.value.status == ExitStatus.USAGE
    assert "\n" not in refused.value.message


@pytest.mark.usefixtures("_root")
def test_what_is_roots_is_handed_over_and_nothing_else(tmp_path: Path) -> None:
    state, outside = tmp_path / "state", tmp_path / "outside"
    outside.write_text("not in it")
    inner = state / "pr"
    inner.mkdir(parents=True)
    for name in ("disk", "others", "twice"):
        (inner / name).write_text(name)
    os.chown(inner / "others", OTHER, OTHER)
    os.link(inner / "twice", tmp_path / "second")
    (inner / "link").symlink_to(outside)
    (state / "directory").symlink_to(tmp_path)
    os.mkfifo(state / "pipe")
    privileges.hand_over(state, JOE)
    for path in (state, inner, inner / "disk"):
        assert (path.stat().st_uid, path.stat().st_gid) == (JOE.uid, JOE.gid), path
    assert (inner / "others").stat().st_uid == OTHER
    for path in (outside, tmp_path, tmp_path / "second", state / "pipe"):
        assert path.stat().st_uid == 0, path


@pytest.mark.usefixtures("_root")
def test_a_missing_state_directory_is_made(tmp_path: Path) -> None:
    privileges.hand_over(tmp_path / "a/b", JOE)
    assert (tmp_path / "a/b").stat().st_uid == JOE.uid
    assert (tmp_path / "a").stat().st_uid == 0


def test_an_impossible_state_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot give the state directory .* to joe") as refused:
        privileges.hand_over(tmp_path / "file/b", JOE)
    assert refused.value.status == ExitStatus.STATE_DIR


@pytest.mark.usefixtures("_root")
def test_privileges_are_not_dropped_where_a_thread_would_keep_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(privileges, "_LAST_THREADS", 0.05)

    def body() -> None:
        over = threading.Event()
        thread = threading.Thread(target=over.wait, name="stays")
        thread.start()
        before = capabilities.permitted()
        with pytest.raises(RuntimeError, match=r"would keep their privileges: .*stays"):
            privileges.drop(JOE, ())
        assert os.getuid() == 0
        assert capabilities.permitted() == before
        over.set()
        thread.join()
        privileges.drop(JOE, (Capability.SYS_RAWIO,))
        assert os.getresuid() == (JOE.uid,) * 3
        assert os.getgroups() == [JOE.gid]
        assert capabilities.permitted() == 1 << Capability.SYS_RAWIO
        with pytest.raises(PermissionError):
            os.setuid(0)

    assert fork(body)() == ""


def test_who_may_not_is_named() -> None:
    def body() -> None:
        if os.geteuid() == 0:
            os.setresuid(54321, 54321, 54321)
        denied = PermissionError(13, "Permission denied", "/file")
        assert described(denied) == f"/file: Permission denied to the user {os.geteuid()}"
        assert described(FileNotFoundError(2, "No such file", b"/x")) == "/x: No such file"
        assert described(OSError("odd")) == "odd"

    assert fork(body)() == ""
