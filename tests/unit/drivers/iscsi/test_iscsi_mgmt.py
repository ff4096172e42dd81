from __future__ import annotations

import errno

import pytest

from scstfs.drivers.iscsi import iscsi_mgmt
from scstfs.drivers.iscsi.iscsi_mgmt import Words
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.mgmt import parse
from tests.support.whole import Whole

SECRET = "123456789012"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b c", ["a", "b", "c"]),
        (" \t a==b\n", ["a", "b"]),
        ("", []),
        ("= =", []),
        ("a\u00a0b", ["a\u00a0b"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    taker = Words(text)
    taken = []
    while word := taker.take():
        taken.append(word)
    assert taken == words
    assert taker.take() == ""


def test_the_last_word() -> None:
    assert Words(" a ").take_last() == "a"
    with pytest.raises(SysfsError):
        Words("a b").take_last()


def test_the_rest_is_behind_one_separator() -> None:
    words = Words("a  b c")
    assert words.take() == "a"
    assert words.rest() == " b c"


def run(everything: Whole, text: str) -> None:
    iscsi_mgmt.execute(everything.iscsi, parse(text.encode()))


async def test_users_of_the_driver(everything: Whole) -> None:
    accounts = everything.iscsi.accounts
    run(everything, f"add_attribute IncomingUser bob {SECRET}")
    run(everything, f"ADD_ATTRIBUTE incominguser=carol={SECRET} and more")
    run(everything, f"add_attribute OutgoingUser me {SECRET}")
    assert list(accounts.files) == ["IncomingUser", "incominguser", "OutgoingUser"]
    run(everything, "del_attribute IncomingUser1 bob")
    run(everything, "del_attribute OutgoingUser me")
    assert list(accounts.files) == ["incominguser"]
    credentials = everything.iscsi.credentials
    assert credentials.incoming == {"carol": SECRET.encode()}
    assert credentials.outgoing is None


async def test_attributes_of_a_target(everything: Whole) -> None:
    await everything.add_target("iqn.t")
    run(everything, f"add_target_attribute IQN.T IncomingUser bob {SECRET}")
    run(everything, "add_target_attribute iqn.t allowed_portal7 10.*")
    target = everything.iscsi.targets["iqn.t"]
    assert list(target.accounts.files) == ["IncomingUser", "allowed_portal"]
    run(everything, "del_target_attribute iqn.t allowed_portal 10.*")
    assert target.allowed_portals == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", errno.EINVAL),
        ("add_attribute", errno.EINVAL),
        ("add_attribute IncomingUserX bob " + SECRET, errno.EINVAL),
        ("add_attribute allowed_portal 10.*", errno.EINVAL),
        ("add_target_attribute iqn.x IncomingUser bob " + SECRET, errno.ENOENT),
        ("add_target_attribute iqn.t allowed_portal 10.* more", errno.EINVAL),
        ("del_attribute IncomingUser", errno.ENOENT),
        ("del_attribute IncomingUser bob", errno.ENOENT),
        ("del_attribute OutgoingUser bob", errno.ENOENT),
    ],
)
async def test_what_is_refused(everything: Whole, text: str, code: int) -> None:
    await everything.add_target("iqn.t")
    with pytest.raises(SysfsError) as caught:
        run(everything, text)
    assert caught.value.errno == code
    assert not everything.iscsi.accounts.files
    assert not everything.iscsi.targets["iqn.t"].accounts.files


async def test_a_new_target_is_complete_or_not_at_all(everything: Whole) -> None:
    given = f"InitialR2T=Yes; # comment\nIncomingUser bob {SECRET}; alias x"
    target = iscsi_mgmt.new_target(everything.iscsi, "iqn.t", given)
    assert not everything.iscsi.targets
    assert target.parameters["InitialR2T"] == 1
    assert target.credentials.incoming == {"bob": SECRET.encode()}
    with pytest.raises(SysfsError):
        iscsi_mgmt.new_target(everything.iscsi, "iqn.t", "InitialR2T=Yes; bad=1")


async def test_of_two_outgoing_users_of_a_new_target_the_last_one_counts(
    everything: Whole,
) -> None:
    given = f"OutgoingUser a {SECRET}; OutgoingUser b {SECRET}"
    target = iscsi_mgmt.new_target(everything.iscsi, "iqn.t", given)
    assert list(target.accounts.files) == ["OutgoingUser"]
    outgoing = target.credentials.outgoing
    assert outgoing is not None
    assert outgoing.name == "b"
