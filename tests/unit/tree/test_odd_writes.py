"""Writes with NULs, with bytes that are no text, and with numbers that C cuts."""

from __future__ import annotations

from pathlib import Path

import pytest

from scstfs.drivers.scst_local import LocalTransport
from scstfs.handlers.vdisk import VdiskDevice
from tests.support.whole import Whole

TARGET = "targets/iscsi/iqn.t"


@pytest.fixture
async def target(everything: Whole) -> Whole:
    await everything.add_target()
    await everything.add_null("d")
    return everything


@pytest.mark.parametrize(
    ("path", "data", "shown"),
    [
        # The newline at the end of the write costs the text its last byte.
        (f"{TARGET}/comment", b"ab\0cd\n", "a\n[key]\n"),
        (f"{TARGET}/comment", b"ab\0cd", "ab\n[key]\n"),
        (f"{TARGET}/comment", b"\0\n", ""),
        ("cluster_name", b"ab\0cd\n", "a\n[key]\n"),
        (f"{TARGET}/addr_method", b"FLAT\0x", "FLAT\n[key]\n"),
        (f"{TARGET}/io_grouping_type", b"7\0x", "7\n[key]\n"),
        ("devices/d/threads_pool_type", b"shared\0", "shared\n[key]\n"),
        ("devices/d/t10_vend_id", b"a\0b\n", "a\n[key]\n"),
        ("devices/d/inq_vend_specific", b"a\0b\n", "a\n[key]\n"),
        ("devices/d/inq_vend_specific", b"\0\n", "\n[key]\n"),
        ("devices/d/usn", b"\xff\xfe\n", "\udcff\udcfe\n[key]\n"),
        ("devices/d/size", b"\xa0512\n", "512\n[key]\n"),
        ("devices/d/size", b"-512\n", f"{2**64 - 512}\n[key]\n"),
        ("poll_us", b"18446744073709551615\n", "18446744073709550\n[key]\n"),
    ],
)
async def test_what_is_made_of_it(target: Whole, path: str, data: bytes, shown: str) -> None:
    await target.write(path, data)
    assert target.read(path) == shown


@pytest.mark.parametrize(
    ("path", "data"),
    [
        (f"{TARGET}/addr_method", b"F\0"),
        (f"{TARGET}/io_grouping_type", b"aut\0o"),
        ("devices/d/threads_pool_type", b"s\0"),
        ("devices/d/t10_vend_id", b"a\0bcdefghi\n"),
        ("devices/d/naa_id", b"5000000000000001\0"),
        ("devices/d/eui64_id", b"\0\n"),
        (f"{TARGET}/enabled", b"\0001"),
        (f"{TARGET}/alias", b"\0\n"),
        (f"{TARGET}/redirect", b"\0\n"),
        (f"{TARGET}/MaxSessions", b"\0\n"),
        ("targets/iscsi/isns_entity_name", b"\0\n"),
        ("targets/iscsi/internal_portal", b"\0\n"),
        ("threads", b"2147483648\n"),
    ],
)
async def test_what_is_refused(target: Whole, path: str, data: bytes) -> None:
    before = target.read(path)
    assert await target.refusal(path, data) == "EINVAL"
    assert target.read(path) == before


async def test_vendor_specific_bytes_may_be_any(target: Whole) -> None:
    await target.write("devices/d/inq_vend_specific", b"a\0b\n")
    device = target.scst.devices["d"]
    assert isinstance(device, VdiskDevice)
    assert b"a\0b" in device.describe().identity.inq_vend_specific


async def test_threads_that_an_int_can_not_hold(target: Whole) -> None:
    await target.write("devices/d/threads_num", "4294967296\n")
    assert target.read("devices/d/threads_num") == "0\n[key]\n"
    await target.write("devices/d/threads_num", "4294967295\n")
    assert target.read("devices/d/threads_num") == "-1\n[key]\n"
    assert target.read("devices/d/threads_pool_type") == "Not valid\n"
    assert await target.refusal("devices/d/threads_num", "1\n") == "EPERM"
    assert await target.refusal("devices/d/threads_pool_type", "shared\n") == "EPERM"


async def test_a_block_size_that_an_int_can_not_hold(everything: Whole) -> None:
    await everything.add_null("d", parameters="blocksize=0x80000000")
    assert everything.read("devices/d/blocksize") == "-2147483648\n[key]\n"


async def test_actions_and_parameters_know_ascii_only(everything: Whole) -> None:
    """KELVIN SIGN in lower case is a k everywhere but in C."""
    command = "add_device d bloc\N{KELVIN SIGN}size=512\n"
    assert await everything.refusal("handlers/vdisk_nullio/mgmt", command) == "EINVAL"


async def test_names_need_be_no_text(everything: Whole, tmp_path: Path) -> None:
    name = "\udcff\udc80"
    await everything.add_null(name, parameters=f"t10_dev_id={name}")
    assert everything.read(f"devices/{name}/t10_dev_id") == f"{name}\n[key]\n"
    target = await everything.add_target(name)
    await everything.write(f"{target}/ini_groups/mgmt", f"create {name}\n")
    await everything.write(f"{target}/ini_groups/{name}/initiators/mgmt", f"add {name}\n")
    await everything.write(f"{target}/luns/mgmt", f"add {name} 0\n")
    assert everything.link(f"{target}/luns/0/device").endswith(f"/devices/{name}")
    await everything.write("handlers/vdisk_nullio/mgmt", f"del_device {name}\n")


async def test_parameters_are_looked_at_before_the_name(everything: Whole) -> None:
    mgmt = "handlers/vdisk_nullio/mgmt"
    assert await everything.refusal(mgmt, "add_device mgmt bogus=1\n") == "EINVAL"
    assert await everything.refusal(mgmt, "add_device mgmt\n") == "EEXIST"


async def test_a_file_nobody_has_open_has_no_new_size(everything: Whole, tmp_path: Path) -> None:
    await everything.add_file(tmp_path / "f")
    await everything.write("devices/f/resync_size", "1\n")
    await everything.write("targets/copy_manager/copy_manager_tgt/luns/mgmt", "del 0\n")
    assert await everything.refusal("devices/f/resync_size", "1\n") == "EMEDIUMTYPE"


async def test_a_size_given_to_an_inactive_file(everything: Whole, tmp_path: Path) -> None:
    await everything.add_file(tmp_path / "f", "active=0; size=4096")
    assert everything.read("devices/f/size") == "4096\n[key]\n"
    await everything.write("devices/f/active", "1\n")
    assert everything.read("devices/f/size") == f"{1 << 20}\n[key]\n"


async def test_hosts_are_numbered_like_those_of_the_kernel(everything: Whole) -> None:
    mgmt, directory = "targets/scst_local/mgmt", "targets/scst_local/t/sessions"
    await everything.write(mgmt, "add_target t session_name=a; session_name=b\n")
    first = int(everything.read(f"{directory}/a/host_no"))
    assert int(everything.read(f"{directory}/b/host_no")) == first + 1
    await everything.write(mgmt, "del_session t a\n")
    await everything.write(mgmt, "add_session t c\n")
    await everything.write(mgmt, "add_session t d\n")
    assert int(everything.read(f"{directory}/c/host_no")) == first
    assert int(everything.read(f"{directory}/d/host_no")) == first + 2


async def test_sessions_of_a_target_refused_meanwhile_use_up_numbers(everything: Whole) -> None:
    mgmt = "targets/scst_local/mgmt"
    refused = "add_target t session_name=a; bogus=1\n"
    assert await everything.refusal(mgmt, refused) == "EINVAL"
    assert "t" not in everything.names("targets/scst_local")
    await everything.write(mgmt, "add_target t session_name=a\n")
    transport = everything.local.targets["t"].sessions["a"].transport
    assert isinstance(transport, LocalTransport)
    assert transport.identifier[8] >> 4 == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1.2.3.4:010 temp\n", "1.2.3.4:10 temp\n[key]\n\n"),
        ("1.2.3.4:4294967297 perm\n", "1.2.3.4:1 perm\n[key]\n\n"),
        ("[::1]x:5 temp\n", "[::1]x:5 temp\n[key]\n\n"),
        ("[::1] TEMP\n", "[::1] temp\n[key]\n\n"),
        ("1.2.3.4:0x10 temp\n", "EINVAL"),
        ("::1 temp\n", "EINVAL"),
        ("[::1]: temp\n", "EINVAL"),
    ],
)
async def test_redirections(target: Whole, text: str, shown: str) -> None:
    refusal = await target.refusal(f"{TARGET}/redirect", text)
    assert (refusal or target.read(f"{TARGET}/redirect")) == shown


async def test_a_user_whose_secret_was_taken_away(target: Whole) -> None:
    mgmt = "targets/iscsi/mgmt"
    await target.write(mgmt, "add_target_attribute iqn.t IncomingUser u 123456789012\n")
    await target.write(f"{TARGET}/IncomingUser", "u\n")
    assert target.read(f"{TARGET}/IncomingUser") == "u (null)\n[key]\n\n"
