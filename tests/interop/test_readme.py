"""What READMEs tell to type in, typed in; what initiators then see."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.interop.storage import MIB, SCST_TGT, Storage, storage
from tests.support.mounted import REPOSITORY
from tests.support.needs import need_mounts, need_programs

pytestmark = pytest.mark.slow

TARGET: Final = "iqn.2007-05.com.example:storage.disk1.sys1.xyz"
SPECIAL: Final = "iqn.2007-05.com.example:storage.disk1.spec_ini.xyz"

CONFIGURATION: Final = f"""
set -e
echo "add_device disk1 filename=$D/disk1; blocksize=4096; nv_cache=1" >handlers/vdisk_fileio/mgmt
echo "add_device disk2 filename=$D/disk2" >handlers/vdisk_fileio/mgmt
echo "add_target {TARGET}" >targets/iscsi/mgmt
echo "add disk1 0" >targets/iscsi/{TARGET}/luns/mgmt
echo "add disk2 1" >targets/iscsi/{TARGET}/luns/mgmt
echo "create SPEC_INI" >targets/iscsi/{TARGET}/ini_groups/mgmt
echo "add disk2 0 read_only=1" >targets/iscsi/{TARGET}/ini_groups/SPEC_INI/luns/mgmt
echo "add {SPECIAL}" >targets/iscsi/{TARGET}/ini_groups/SPEC_INI/initiators/mgmt
echo 1 >targets/iscsi/{TARGET}/enabled
echo 1 >targets/iscsi/enabled
"""
"""The examples of SCST's README, with the commands that its section on access control omits."""


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=50, check=False)


def configure(served: Storage, disks: Path) -> None:
    done = served.running.sh(f"D={disks}\n{CONFIGURATION}")
    assert done.returncode == 0, done.stderr


def luns(served: Storage, *options: str) -> list[tuple[str, str]]:
    """Number and size of LUNs as iscsi-ls shows them: the last block's address, rounded down."""
    done = run("iscsi-ls", "--show-luns", *options, f"iscsi://{served.portal}")
    assert done.returncode == 0, done.stderr
    assert f"Target:{TARGET} Portal:{served.portal}" in done.stdout
    return re.findall(r"Lun:(\d+) .*\(Size:(\w+)\)", done.stdout)


def write(served: Storage, lun: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Write to a LUN with QEMU under a name of the caller's choice."""
    image = f"driver=iscsi,transport=tcp,portal={served.portal},target={TARGET},lun={lun}"
    image += "".join(f",{option}" for option in options)
    return run("qemu-io", "--image-opts", image, "-c", "write -P 7 0 4k")


def test_the_example_of_scst(tmp_path: Path) -> None:
    need_programs("iscsi-ls", "qemu-img", "qemu-io")
    image = tmp_path / "image"
    image.write_bytes(os.urandom(24 * MIB))
    for name, size in (("disk1", 24), ("disk2", 8)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size * MIB)
    with storage(tmp_path, mountpoint=SCST_TGT) as served:
        configure(served, tmp_path)
        assert luns(served) == [("0", "23M"), ("1", "7M")]
        assert luns(served, "--initiator-name", SPECIAL) == [("0", "7M")]
        assert write(served, 1).returncode == 0
        refused = write(served, 0, f"initiator-name={SPECIAL}")
        assert refused.returncode != 0
        assert "write protected" in refused.stderr
        lun = served.url(TARGET, 0)
        converted = run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(image), lun)
        assert converted.returncode == 0, converted.stderr
    with storage(tmp_path, mountpoint=SCST_TGT) as served:
        assert served.running.sh("ls -d devices/* targets/iscsi/iqn* 2>/dev/null").stdout == ""
        configure(served, tmp_path)
        compared = run("qemu-img", "compare", "-f", "raw", "-F", "raw", str(image),
                       served.url(TARGET, 0))  # fmt: skip
        assert compared.returncode == 0, compared.stdout + compared.stderr
        assert "Images are identical" in compared.stdout


def test_a_set_without_lun_0_is_told_of(tmp_path: Path) -> None:
    need_programs("iscsi-ls")
    with storage(tmp_path, mountpoint=SCST_TGT) as served:
        served.add_device("vdisk_nullio", "null")
        directory = served.add_target(TARGET, "null")
        assert luns(served) == [("0", "1T")]
        served.write(f"{directory}/luns/mgmt", "clear", "add null 1")
        assert luns(served) == [("1", "1T")]
    # The log is complete when the daemon has ended.
    told = [line for line in served.running.lines if "tgt_dev for LUN 0 not found" in line]
    assert len(told) == 1, served.running.log
    assert (
        "command to unexisting LU? (initiator iqn.2007-10.com.github:sahlberg:libiscsi" in told[0]
    )
    assert f"target {TARGET}" in told[0]


def test_our_own_example() -> None:
    need_mounts()
    need_programs("unshare", "ip", "tree", "iscsi-ls", "iscsi-inq", "qemu-img")
    demo = run(sys.executable, str(REPOSITORY / "contrib" / "demo.py"))
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stdout.count("Images are identical.") == 2
    assert demo.stdout.count("(the daemon ended with status 0 ") == 2
    assert demo.stdout.rstrip().endswith("--- done")
    assert "SPEC_INI" in demo.stdout
    assert len(re.findall(r"Lun:\d", demo.stdout)) == 4
    assert demo.stdout.count("+ add devices/disk3: filename=/disk3\n") == 2, "diff and apply"
