from __future__ import annotations

import errno

import pytest

from scstfs.local import open_session
from scstfs.scsi.unit import SAS_TRANSPORT
from scstfs.sysfs.errors import SysfsError
from tests.support.whole import FIRST_HOST, Whole

DRIVER = "targets/scst_local"
TARGET = f"{DRIVER}/t"


@pytest.fixture
async def target(everything: Whole) -> Whole:
    """The target t with session me."""
    await everything.write(f"{DRIVER}/mgmt", "add_target t session_name=me\n")
    return everything


@pytest.mark.parametrize(
    ("command", "targets", "sessions"),
    [
        ("add_target u", ["t", "u"], ["me"]),
        ("ADD_TARGET u", ["t", "u"], ["me"]),
        ("del_target t", [], []),
        ("add_session t other", ["t"], ["me", "other"]),
        ("add_session t me", ["t"], ["me", "me_1"]),
        ("add_session t a/b", ["t"], ["a!b", "me"]),
        ("del_session t me", ["t"], []),
        ("nonsense t me", ["t"], ["me"]),
    ],
)
async def test_commands(
    target: Whole, command: str, targets: list[str], sessions: list[str]
) -> None:
    await target.write(f"{DRIVER}/mgmt", f"{command}\n")
    fixed = {"mgmt", "stats", "trace_level", "version"}
    assert [name for name in target.names(DRIVER) if name not in fixed] == targets
    if targets:
        assert target.names(f"{TARGET}/sessions") == sessions


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        ("", "EINVAL"),
        ("add_target", "EINVAL"),
        ("add_target t", "EFAULT"),
        ("add_target mgmt", "EFAULT"),
        ("add_target .", "EINVAL"),
        (f"add_target {'n' * 256}", "EINVAL"),
        ("add_target u bad=1", "EINVAL"),
        ("add_target u session_name", "EINVAL"),
        ("add_target u session_name=..", "EINVAL"),
        ("del_target u", "ENOENT"),
        ("del_target t more", "EINVAL"),
        ("add_session u s", "EINVAL"),
        ("add_session t", "EINVAL"),
        ("add_session t .", "EINVAL"),
        ("del_session t other", "EINVAL"),
    ],
)
async def test_what_is_refused_changes_nothing(target: Whole, command: str, refusal: str) -> None:
    assert await target.refusal(f"{DRIVER}/mgmt", f"{command}\n") == refusal
    assert target.names(DRIVER) == ["mgmt", "stats", "t", "trace_level", "version"]
    assert target.names(f"{TARGET}/sessions") == ["me"]


async def test_targets_are_active(target: Whole) -> None:
    assert "enabled" not in target.names(TARGET)
    assert await target.refusal(f"{TARGET}/rel_tgt_id", "0\n") == "EINVAL"


async def test_version_descriptors(target: Whole) -> None:
    driver = target.local.targets["t"]
    name = f"{TARGET}/scsi_transport_version"
    default = target.read(name)
    assert "[key]" not in default
    assert driver.scsi_transport_version == SAS_TRANSPORT
    await target.write(name, "0x0960\n")
    assert target.read(name) == "0x960\n[key]\n"
    assert driver.scsi_transport_version == 0x0960
    await target.write(name, "0\n")
    assert target.read(name) == default
    assert driver.scsi_transport_version == SAS_TRANSPORT
    await target.write(f"{TARGET}/phys_transport_version", "0x1234\n")
    assert target.read(f"{TARGET}/phys_transport_version") == "0x1234\n[key]\n"
    assert await target.refusal(name, "x\n") == "EINVAL"


async def test_the_transport_id_is_bytes(target: Whole) -> None:
    name = f"{TARGET}/sessions/me/transport_id"
    node = target.tree.resolve(name)
    assert node.read()[0] == 6
    written = bytes(range(24)) + b"\n"
    assert await node.write(written) == 25
    assert node.read() == written


async def test_where_the_scsi_host_would_be(target: Whole) -> None:
    session = f"{TARGET}/sessions/me"
    assert target.read(f"{session}/host_no") == f"{FIRST_HOST}\n"
    host = f"host{FIRST_HOST}"
    assert target.link(f"{session}/host") == (
        f"../../../../../../../devices/scst_local/me/{host}/scsi_host/{host}"
    )
    await target.write(f"{DRIVER}/mgmt", "add_session t other\n")
    assert target.read(f"{TARGET}/sessions/other/host_no") == f"{FIRST_HOST + 1}\n"


async def test_a_closed_session_is_gone(target: Whole) -> None:
    node = target.tree.resolve(f"{TARGET}/sessions/me/initiator_name")
    await target.write(f"{TARGET}/sessions/me/force_close", "1\n")
    assert target.names(f"{TARGET}/sessions") == []
    with pytest.raises(SysfsError) as caught:
        node.read()
    assert caught.value.errno == errno.ENODEV


async def test_aborts_and_resets_are_counted(target: Whole) -> None:
    await target.add_null("null1")
    await target.write(f"{TARGET}/luns/mgmt", "add null1 0\n")
    session = open_session(target.local.targets["t"], "me")
    await session.abort_task_set(0)
    await session.lun_reset(0)
    await session.lun_reset(0)
    await session.target_reset()
    assert target.read(f"{DRIVER}/stats") == ("Aborts: 1, Device Resets: 2, Target Resets: 1\n")
