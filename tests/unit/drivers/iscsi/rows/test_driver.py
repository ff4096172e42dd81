from __future__ import annotations

import pytest

from tests.support.sessions import open_session
from tests.support.whole import Whole

DRIVER = "targets/iscsi"
SECRET = "123456789012"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("add_target iqn.u", {}),
        ("ADD_TARGET iqn.u", {}),
        ("add_target iqn.u; MaxSessions=3", {"MaxSessions": "3\n[key]\n\n"}),
        ("add_target iqn.u maxsessions=3;;#x;QueuedCommands 8", {"QueuedCommands": "8\n[key]\n\n"}),
        ("add_target iqn.u InitialR2T=Yes\nImmediateData=No", {"ImmediateData": "No\n[key]\n\n"}),
        (
            f"add_target iqn.u IncomingUser=bob {SECRET}",
            {"IncomingUser": f"bob {SECRET}\n[key]\n\n"},
        ),
    ],
)
async def test_targets_are_added(everything: Whole, command: str, shown: dict[str, str]) -> None:
    await everything.write(f"{DRIVER}/mgmt", f"{command}\n")
    for name, text in {"enabled": "0\n", "tid": "1\n", **shown}.items():
        assert everything.read(f"{DRIVER}/iqn.u/{name}") == text


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        ("", "EINVAL"),
        ("nonsense iqn.u", "EINVAL"),
        ("add_target", "EINVAL"),
        ("add_target ;", "EINVAL"),
        ("add_target .", "EINVAL"),
        ("add_target iqn.t", "EEXIST"),
        ("add_target IQN.T", "EEXIST"),
        ("add_target mgmt", "EBUSY"),
        ("add_target iqn.u bad=1", "EINVAL"),
        ("add_target iqn.u Target=iqn.v", "EINVAL"),
        ("add_target iqn.u MaxConnections=2", "EINVAL"),
        ("add_target iqn.u MaxSessions=65536", "EINVAL"),
        ("add_target iqn.u MaxSessions=1 2", "EINVAL"),
        ("add_target iqn.u InitialR2T=yes", "EINVAL"),
        ("add_target iqn.u HeaderDigest=CRC32C,MD5", "EINVAL"),
        ("add_target iqn.u IncomingUser=bob short", "EINVAL"),
        ("add_target iqn.u IncomingUser=bob", "EINVAL"),
        ("del_target", "EINVAL"),
        ("del_target iqn.u", "ENOENT"),
        ("del_target iqn.t more", "EINVAL"),
        (f"add_attribute bob {SECRET}", "EINVAL"),
        ("add_attribute IncomingUser bob", "EINVAL"),
        ("add_attribute allowed_portal 10.*", "EINVAL"),
        ("del_attribute IncomingUser bob", "ENOENT"),
        (f"add_target_attribute iqn.u IncomingUser bob {SECRET}", "ENOENT"),
        ("add_target_attribute iqn.t IncomingUser bob short", "EINVAL"),
        ("add_target_attribute iqn.t IncomingUserX bob " + SECRET, "EINVAL"),
        ("add_target_attribute iqn.t allowed_portal", "EINVAL"),
        ("del_target_attribute iqn.t IncomingUser bob", "ENOENT"),
        ("del_target_attribute iqn.t allowed_portal 10.*", "EINVAL"),
    ],
)
async def test_what_is_refused_changes_nothing(
    everything: Whole, command: str, refusal: str
) -> None:
    await everything.add_target()
    before = [node.path for node in everything.tree.walk()]
    assert await everything.refusal(f"{DRIVER}/mgmt", f"{command}\n") == refusal
    assert [node.path for node in everything.tree.walk()] == before
    assert everything.result.startswith("-")


async def test_target_numbers_are_not_used_again(everything: Whole) -> None:
    for name in ("iqn.a", "iqn.b"):
        await everything.add_target(name)
        await everything.write(f"{DRIVER}/mgmt", f"del_target {name}\n")
    await everything.add_target("iqn.c")
    assert everything.read(f"{DRIVER}/iqn.c/tid") == "3\n"


async def test_long_names_are_cut(everything: Whole) -> None:
    await everything.write(f"{DRIVER}/mgmt", f"add_target {'n' * 300}\n")
    assert "n" * 255 in everything.names(DRIVER)


async def test_targets_in_use_stay(everything: Whole) -> None:
    await everything.add_target()
    open_session(everything.iscsi.targets["iqn.t"], "iqn.me")
    assert await everything.refusal(f"{DRIVER}/mgmt", "del_target iqn.t\n") == "EBUSY"
    assert "iqn.t" in everything.names(DRIVER)


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("enabled", "1\n", "1\n\n"),
        ("enabled", "0\n", "0\n\n"),
        ("link_local", "0\n", "0\n[key]\n\n"),
        ("link_local", "1\n", "1\n\n"),
        ("internal_portal", "10.0.0.1 ::1\n", "10.0.0.1 ::1\n[key]\n\n"),
        ("internal_portal", "\n", "\n\n"),
        ("isns_entity_name", "me and more\n", "me\n"),
        ("iSNSServer", "\n", "\n\n"),
    ],
)
async def test_what_is_written_is_read(everything: Whole, name: str, text: str, shown: str) -> None:
    await everything.check_rows(DRIVER, [(name, text, shown)])


@pytest.mark.parametrize(
    ("name", "text", "refusal"),
    [
        ("enabled", "2\n", "EINVAL"),
        ("enabled", "\n", "EINVAL"),
        ("link_local", "x\n", "EINVAL"),
        ("internal_portal", "10.0.0.1 host\n", "EINVAL"),
        ("iSNSServer", "host\n", "ECONNREFUSED"),
        ("iSNSServer", "host nonsense\n", "EINVAL"),
        ("open_state", "closed\n", "EIO"),
    ],
)
async def test_what_can_not_be_written(
    everything: Whole, name: str, text: str, refusal: str
) -> None:
    await everything.check_rows(DRIVER, [(name, text, refusal)])


class Registry:
    """An iSNS server that accepts all."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, bool]] = []

    async def isns_changed(self, driver: object, host: str | None, access_control: bool) -> None:
        self.asked.append((host, access_control))


@pytest.mark.parametrize(
    ("text", "shown", "asked"),
    [
        ("host\n", "host \n[key]\n\n", ("host", False)),
        ("host AccessControl\n", "host AccessControl\n[key]\n\n", ("host", True)),
        ("host accesscontrol No\n", "host \n[key]\n\n", ("host", False)),
        ("host AccessControl yes\n", "host AccessControl\n[key]\n\n", ("host", True)),
    ],
)
async def test_an_isns_server(
    everything: Whole,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    shown: str,
    asked: tuple[str, bool],
) -> None:
    registry = Registry()
    monkeypatch.setattr(everything.iscsi.live, "isns_changed", registry.isns_changed)
    await everything.write(f"{DRIVER}/iSNSServer", text)
    assert everything.read(f"{DRIVER}/iSNSServer") == shown
    assert registry.asked == [asked]
    # Whatever is wrong with the next one, this one is not used any more.
    assert await everything.refusal(f"{DRIVER}/iSNSServer", "other nonsense\n") == "EINVAL"
    assert everything.read(f"{DRIVER}/iSNSServer") == "\n\n"
    assert registry.asked == [asked, (None, False)]
