from __future__ import annotations

import pytest

from scstfs.scsi.sense import decode
from tests.support.sessions import open_session
from tests.support.whole import Whole

LUNS = "targets/iscsi/iqn.t/luns"
REPORTED_LUNS_CHANGED = (6, 0x3F, 0x0E)
INQUIRY_CHANGED = (6, 0x3F, 0x03)


@pytest.fixture
async def target(everything: Whole) -> Whole:
    """A target, and null1 to null3, of which null1 is its LUN 0 and null3 is read-only."""
    await everything.add_null("null1", "null2")
    await everything.add_null("null3", parameters="read_only=1")
    await everything.add_target()
    await everything.write(f"{LUNS}/mgmt", "add null1 0\n")
    return everything


@pytest.mark.parametrize(
    ("command", "luns"),
    [
        ("add null2 1", {"0": "null1", "1": "null2"}),
        ("ADD null2 0x10", {"0": "null1", "16": "null2"}),
        ("add=null2=16383=read_only=1", {"0": "null1", "16383": "null2"}),
        ("add null1 1", {"0": "null1", "1": "null1"}),
        ("add null2 1 read_only=0", {"0": "null1", "1": "null2"}),
        ("replace null2 0", {"0": "null2"}),
        ("replace null2 1", {"0": "null1", "1": "null2"}),
        ("replace_no_ua null2 0", {"0": "null2"}),
        ("del 0", {}),
        ("clear", {}),
    ],
)
async def test_commands(target: Whole, command: str, luns: dict[str, str]) -> None:
    await target.write(f"{LUNS}/mgmt", f"{command}\n")
    assert target.result == "0"
    assert target.names(LUNS) == sorted((*luns, "mgmt"))
    for lun, device in luns.items():
        assert target.link(f"{LUNS}/{lun}/device") == f"../../../../../devices/{device}"


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        ("", "EINVAL"),
        ("nonsense", "EINVAL"),
        ("add", "EINVAL"),
        ("add other 1", "EINVAL"),
        ("add null2", "EINVAL"),
        ("add null2 x", "EINVAL"),
        ("add null2 -1", "EINVAL"),
        ("add null2 16384", "EINVAL"),
        ("add null2 99999999999999999999", "ERANGE"),
        ("add null2 1 bad=1", "EINVAL"),
        ("add null2 1 read_only", "EINVAL"),
        ("add null2 1 read_only=x", "EINVAL"),
        ("add null2 0", "EEXIST"),
        ("replace other 0", "EINVAL"),
        ("replace null2 0 read_only=1; bad=1", "EINVAL"),
        ("del", "EINVAL"),
        ("del 1", "EINVAL"),
        ("del 0 0", "EINVAL"),
        ("clear 0", "EINVAL"),
    ],
)
async def test_what_is_refused_changes_nothing(target: Whole, command: str, refusal: str) -> None:
    assert await target.refusal(f"{LUNS}/mgmt", f"{command}\n") == refusal
    assert target.names(LUNS) == ["0", "mgmt"]
    assert target.link(f"{LUNS}/0/device").endswith("/null1")
    assert target.names("devices/null1/exported") == ["export0", "export1"]


async def test_read_only_luns(target: Whole) -> None:
    await target.write(f"{LUNS}/mgmt", "add null2 1 read_only=1\n")
    await target.write(f"{LUNS}/mgmt", "add null3 2\n")
    assert target.read(f"{LUNS}/0/read_only") == "0\n"
    assert target.read(f"{LUNS}/1/read_only") == "1\n[key]\n"
    assert target.read(f"{LUNS}/2/read_only") == "1\n[key]\n"


@pytest.mark.parametrize("name", ["00", "1", "x", "-0"])
async def test_luns_have_one_name(target: Whole, name: str) -> None:
    assert target.tree.resolve(LUNS).lookup(name) is None


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("add null2 1", [REPORTED_LUNS_CHANGED]),
        ("replace null2 0", [INQUIRY_CHANGED]),
        ("replace null2 1", [REPORTED_LUNS_CHANGED]),
        ("replace_no_ua null2 0", []),
        ("del 0", [REPORTED_LUNS_CHANGED]),
        ("clear", [REPORTED_LUNS_CHANGED]),
    ],
)
async def test_sessions_are_told(
    target: Whole, command: str, told: list[tuple[int, int, int]]
) -> None:
    session, nexus = open_session(target.iscsi.targets["iqn.t"], "iqn.me")
    await target.write(f"{LUNS}/mgmt", f"{command}\n")
    conditions = [decode(sense) for _, sense in nexus.events]
    assert [condition and condition.triple for condition in conditions] == told
    shown = [
        name.removeprefix("lun")
        for name in target.names("targets/iscsi/iqn.t/sessions/iqn.me")
        if name.startswith("lun") and name != "luns"
    ]
    assert sorted(shown) == [name for name in target.names(LUNS) if name != "mgmt"]
    assert set(session.tgt_devs) == {int(name) for name in shown}
