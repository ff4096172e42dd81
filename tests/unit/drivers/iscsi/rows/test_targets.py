from __future__ import annotations

import pytest

from scstfs.iscsi.admission import Redirect
from scstfs.iscsi.keys import ATTRIBUTES
from tests.support.whole import Whole

TARGET = "targets/iscsi/iqn.t"


@pytest.fixture
async def target(everything: Whole) -> Whole:
    await everything.add_target()
    return everything


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("enabled", "1\n", "1\n"),
        ("InitialR2T", "Yes\n", "Yes\n[key]\n\n"),
        ("InitialR2T", "No\n", "No\n"),
        ("InitialR2T", ":default:\n", "No\n"),
        ("MaxBurstLength", "0x1000\n", "4096\n[key]\n\n"),
        ("MaxBurstLength", "4096 \n", "4096\n[key]\n\n"),
        ("MaxBurstLength", "4096bytes\n", "4096\n[key]\n\n"),
        ("MaxSessions", "4294967297\n", "1\n[key]\n\n"),
        ("HeaderDigest", "CRC32C,None\n", "None,CRC32C\n[key]\n\n"),
        ("HeaderDigest", "crc32c\n", "CRC32C\n[key]\n\n"),
        ("per_portal_acl", "1\n", "1\n[key]\n\n"),
        ("alias", "  some text \n", "some text\n[key]\n\n"),
        ("alias", "\n", "\n"),
        ("redirect", "10.0.0.1 temp\n", "10.0.0.1 temp\n[key]\n\n"),
        ("redirect", "10.0.0.1:3261 PERM\n", "10.0.0.1:3261 perm\n[key]\n\n"),
        ("redirect", "10.0.0.1:3260 perm\n", "10.0.0.1 perm\n[key]\n\n"),
        ("redirect", "[::1]:3261 temp\n", "[::1]:3261 temp\n[key]\n\n"),
        ("redirect", "\n", "\n"),
    ],
)
async def test_what_is_written_is_read(target: Whole, name: str, text: str, shown: str) -> None:
    await target.check_rows(TARGET, [(name, text, shown)])


@pytest.mark.parametrize(
    ("name", "text", "refusal"),
    [
        ("enabled", "2\n", "EINVAL"),
        ("InitialR2T", "yes\n", "EINVAL"),
        ("InitialR2T", "Yes No\n", "EINVAL"),
        ("InitialR2T", "\n", "EINVAL"),
        ("MaxBurstLength", "511\n", "EINVAL"),
        ("MaxBurstLength", "1048577\n", "EINVAL"),
        ("MaxBurstLength", "x\n", "EINVAL"),
        ("MaxSessions", "-1\n", "EINVAL"),
        ("HeaderDigest", "MD5\n", "EINVAL"),
        ("per_portal_acl", "2\n", "EINVAL"),
        ("redirect", "10.0.0.1\n", "EINVAL"),
        ("redirect", "10.0.0.1 never\n", "EINVAL"),
        ("redirect", "host temp\n", "EINVAL"),
        ("redirect", "10.0.0.1:0 temp\n", "EINVAL"),
        ("redirect", "10.0.0.1 temp more\n", "EINVAL"),
        ("redirect", "a" * 1026 + " temp\n", "ERANGE"),
        ("tid", "2\n", "EIO"),
    ],
)
async def test_what_is_refused_changes_nothing(
    target: Whole, name: str, text: str, refusal: str
) -> None:
    await target.check_rows(TARGET, [(name, text, refusal)])


async def test_logins_see_what_was_written(target: Whole) -> None:
    login = target.iscsi.targets["iqn.t"]
    await target.write(f"{TARGET}/MaxSessions", "5\n")
    await target.write(f"{TARGET}/alias", "disk\n")
    await target.write(f"{TARGET}/redirect", "10.0.0.1 perm\n")
    await target.write(f"{TARGET}/enabled", "1\n")
    assert login.parameters["MaxSessions"] == 5
    assert login.alias == "disk"
    assert login.redirect == Redirect("10.0.0.1", 3260, True)
    assert not login.enabled
    await target.write("targets/iscsi/enabled", "1\n")
    assert login.enabled


async def test_there_is_a_file_for_each_attribute(target: Whole) -> None:
    names = target.names(TARGET)
    for key in ATTRIBUTES:
        assert key.name in names


async def test_those_who_serve_are_told(target: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    live = target.iscsi.live
    monkeypatch.setattr(live, "parameter_changed", lambda target, name: told.append(name))
    monkeypatch.setattr(live, "target_enabled_changed", lambda target: told.append("target"))
    monkeypatch.setattr(live, "enabled_changed", lambda driver: told.append("driver"))
    monkeypatch.setattr(live, "alias_changed", lambda target: told.append("alias"))
    monkeypatch.setattr(live, "target_removed", lambda target: told.append("removed"))
    await target.write(f"{TARGET}/QueuedCommands", "5\n")
    await target.write(f"{TARGET}/enabled", "1\n")
    await target.write(f"{TARGET}/alias", "x\n")
    await target.write("targets/iscsi/enabled", "1\n")
    await target.write("targets/iscsi/mgmt", "del_target iqn.t\n")
    assert told == ["QueuedCommands", "target", "alias", "driver", "removed"]


async def test_groups_of_iscsi_targets_have_an_attribute_more(target: Whole) -> None:
    await target.write(f"{TARGET}/ini_groups/mgmt", "create G\n")
    name = f"{TARGET}/ini_groups/G/per_sess_dedicated_tgt_threads"
    await target.write(name, "3\n")
    assert target.read(name) == "1\n[key]\n"
    assert await target.refusal(name, "-1\n") == "EINVAL"
