from __future__ import annotations

import errno

import pytest

from scstfs.drivers.iscsi.accounts import Accounts, EntryList
from scstfs.sysfs.errors import SysfsError

SECRET = "123456789012"


def keys(entries: EntryList) -> list[str]:
    return [entry.key for entry in entries]


def code(caught: pytest.ExceptionInfo[SysfsError]) -> int | None:
    return caught.value.errno


def test_files_are_numbered_from_the_second_on() -> None:
    accounts = Accounts()
    for name in ("a", "b", "c"):
        accounts.add_incoming("IncomingUser", name, SECRET)
    assert list(accounts.files) == ["IncomingUser", "IncomingUser1", "IncomingUser2"]
    assert keys(accounts.incoming) == ["a", "b", "c"]


def test_the_lowest_free_number_is_taken() -> None:
    accounts = Accounts()
    for name in ("a", "b", "c"):
        accounts.add_incoming("IncomingUser", name, SECRET)
    found = accounts.incoming.find("b")
    assert found is not None
    accounts.remove(accounts.incoming, found)
    accounts.add_incoming("IncomingUser", "d", SECRET)
    assert accounts.files["IncomingUser1"].entry().key == "d"


def test_a_file_is_called_as_it_was_asked_for() -> None:
    accounts = Accounts()
    accounts.add_incoming("INCOMINGUSER7", "a", SECRET)
    accounts.add_incoming("INCOMINGUSER7", "b", SECRET)
    assert list(accounts.files) == ["INCOMINGUSER7", "INCOMINGUSER71"]


def test_names_are_cut() -> None:
    accounts = Accounts()
    accounts.add_incoming("IncomingUser" + "1" * 60, "a", SECRET)
    [name] = accounts.files
    assert len(name) == 49


@pytest.mark.parametrize(
    ("name", "secret"),
    [("", SECRET), ("a", ""), ("a", "12345678901"), ("b", SECRET)],
    ids=["no name", "no secret", "short secret", "name taken"],
)
def test_users_that_are_refused(name: str, secret: str) -> None:
    accounts = Accounts()
    accounts.add_incoming("IncomingUser", "b", SECRET)
    with pytest.raises(SysfsError) as caught:
        accounts.add_incoming("IncomingUser", name, secret)
    assert code(caught) == errno.EINVAL
    assert list(accounts.files) == ["IncomingUser"]
    assert keys(accounts.incoming) == ["b"]


def test_a_secret_is_measured_in_bytes() -> None:
    accounts = Accounts()
    accounts.add_incoming("IncomingUser", "a", "\u00e9" * 6)
    assert keys(accounts.incoming) == ["a"]


def test_the_second_outgoing_user_loses_both() -> None:
    accounts = Accounts()
    accounts.add_outgoing("OutgoingUser", "a", SECRET)
    with pytest.raises(SysfsError) as caught:
        accounts.add_outgoing("OutgoingUser", "b", SECRET)
    assert code(caught) == errno.EEXIST
    assert keys(accounts.outgoing) == []
    with pytest.raises(SysfsError) as caught:
        accounts.files["OutgoingUser"].entry()
    assert code(caught) == errno.EINVAL
    # Under another name it is taken.
    accounts.add_outgoing("OutgoingUser1", "b", SECRET)
    assert keys(accounts.outgoing) == ["b"]


def test_a_short_secret_leaves_the_outgoing_user() -> None:
    accounts = Accounts()
    accounts.add_outgoing("OutgoingUser", "a", SECRET)
    with pytest.raises(SysfsError):
        accounts.add_outgoing("OutgoingUser", "b", "short")
    assert keys(accounts.outgoing) == ["a"]


def test_forgetting_the_outgoing_user() -> None:
    accounts = Accounts()
    accounts.add_outgoing("OutgoingUser", "a", SECRET)
    accounts.forget_outgoing()
    assert not accounts.files
    accounts.add_outgoing("OutgoingUser", "b", SECRET)
    assert keys(accounts.outgoing) == ["b"]


def test_removing_what_has_no_file() -> None:
    accounts = Accounts()
    accounts.add_portal("allowed_portal", "10.*")
    [entry] = accounts.portals
    accounts.remove(accounts.portals, entry)
    with pytest.raises(SysfsError) as caught:
        accounts.remove(accounts.portals, entry)
    assert code(caught) == errno.ENOENT


def test_writing_to_a_file() -> None:
    accounts = Accounts()
    accounts.add_incoming("IncomingUser", "a", SECRET)
    accounts.add_incoming("IncomingUser", "b", SECRET)
    file = accounts.files["IncomingUser1"]
    file.replace("b", "another secret")
    assert file.entry().value == "another secret"
    with pytest.raises(SysfsError) as caught:
        file.replace("a", SECRET)
    assert code(caught) == errno.EEXIST
    assert file.entry().key == "b"


def test_files_by_kind() -> None:
    accounts = Accounts()
    accounts.add_incoming("IncomingUser", "a", SECRET)
    accounts.add_portal("allowed_portal", "10.*")
    assert list(accounts.files_of(accounts.incoming)) == ["IncomingUser"]
    assert list(accounts.files_of(accounts.of_kind("allowed_portal"))) == ["allowed_portal"]
