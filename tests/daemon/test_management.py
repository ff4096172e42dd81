"""What is configured can be saved, changed and brought back by SCST's rules alone.

The rules (SysfsRules, part III) are in `tests.support.management`, which knows nothing of what is
configured here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from scstfs.mounts import MountFlag, mount
from tests.daemon.harness import SCST_TGT, Daemon
from tests.support.machine import need_machine, on_recorded_machine
from tests.support.management import Configuration, apply, available, read_all, save, write
from tests.support.scsi_devices import Machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROOT: Final = Path(SCST_TGT)
TARGET: Final = "iqn.2006-10.net.vlnb:tgt"

SETTINGS: Final = """
setup_id 0x12
threads 5
max_tasklet_cmd 11
poll_us 3
force_global_sgv_pool 1
cluster_name here

handlers/vdisk_fileio/mgmt add_device file filename=/back/disk1; blocksize=4096; write_through=1; \
removable=1; rotational=0; thin_provisioned=1; tst=0; numa_node_id=0; t10_dev_id=its-own
handlers/vdisk_fileio/mgmt add_device reader filename=/back/disk2; read_only=1
handlers/vdisk_fileio/mgmt add_device direct filename=/back/disk3; o_direct=1; async=1; \
nv_cache=1; cluster_mode=1
handlers/vdisk_fileio/mgmt add_device closed filename=/back/disk4; active=0
handlers/vdisk_fileio/mgmt add_device checked filename=/back/disk4; dif_mode=tgt|dev_store; \
dif_type=1; dif_static_app_tag=5; dif_filename=/back/disk5
handlers/vdisk_blockio/mgmt add_device block filename=/dev/loop0; blocksize=2048; nv_cache=1; \
removable=1; thin_provisioned=0; rotational=0; bind_alua_state=0
handlers/vdisk_blockio/mgmt add_device shut filename=/dev/loop1; read_only=1; write_through=1; \
active=0; tst=0; dif_mode=tgt|dev_check|dev_store; dif_type=2; dif_filename=/back/disk5
handlers/vdisk_nullio/mgmt add_device null size_mb=128; read_only=1; removable=1; rotational=0; \
dummy=1; blocksize=4096; tst=0; cluster_mode=1
handlers/vdisk_nullio/mgmt add_device tagged dif_mode=tgt; dif_type=3
handlers/vcdrom/mgmt add_device cd tst=0
handlers/vcdrom/mgmt add_device drive
handlers/dev_disk/mgmt add_device 2:0:0:0
handlers/dev_cdrom/mgmt add_device 1:0:0:0
devices/2:0:0:0/pr_file_name /back/reservations
devices/2:0:0:0/threads_num 3
devices/2:0:0:0/max_tgt_dev_commands 5
devices/cd/filename /back/image.iso
devices/null/read_zero 1
devices/file/expl_alua 1
devices/file/lb_per_pb_exp 0
devices/file/threads_num 4
devices/file/threads_pool_type shared
devices/file/max_tgt_dev_commands 32
devices/file/opt_trans_len 65536
devices/file/t10_vend_id ACME
devices/file/vend_specific_id vendor specific
devices/file/prod_id a disk
devices/file/prod_rev_lvl 1.0
devices/file/usn 4711
devices/file/scsi_device_name naa.5 001
devices/file/inq_vend_specific some text
devices/file/naa_id 5001234567890123
devices/cd/eui64_id 0x0123456789abcdef
devices/cd/threads_num 0

targets/copy_manager/allow_not_connected_copy 1
targets/iscsi/mgmt add_attribute IncomingUser joe 12charsecret
targets/iscsi/mgmt add_attribute IncomingUser jim 12charsecret
targets/iscsi/mgmt add_attribute OutgoingUser out 12charsecre2
targets/iscsi/link_local 0
targets/iscsi/internal_portal 127.0.0.1 ::1
targets/iscsi/mgmt add_target {target} DataDigest=CRC32C; HeaderDigest=None,CRC32C
targets/iscsi/mgmt add_target_attribute {target} IncomingUser joe 12charsecret
targets/iscsi/mgmt add_target_attribute {target} IncomingUser jan 12charsecret
targets/iscsi/mgmt add_target_attribute {target} OutgoingUser out 12charsecre2
targets/iscsi/mgmt add_target_attribute {target} allowed_portal 127.*
targets/iscsi/mgmt add_target_attribute {target} allowed_portal ::1
T/rel_tgt_id 7
T/forward_src 1
T/forward_dst 1
T/aen_disabled 1
T/comment some words
T/addr_method FLAT
T/io_grouping_type never
T/cpu_mask 1
T/InitialR2T Yes
T/ImmediateData No
T/MaxRecvDataSegmentLength 65536
T/MaxXmitDataSegmentLength 65536
T/MaxBurstLength 65536
T/FirstBurstLength 4096
T/MaxOutstandingR2T 4
T/RDMAExtensions Yes
T/QueuedCommands 64
T/RspTimeout 31
T/NopInInterval 10
T/NopInTimeout 60
T/MaxSessions 2
T/per_portal_acl 1
T/redirect 10.0.0.1:3261 temp
T/alias an alias
T/luns/mgmt add file 0
T/luns/mgmt add reader 1 read_only=1
T/luns/mgmt add cd 7
T/ini_groups/mgmt create one
T/ini_groups/mgmt create two
T/ini_groups/one/luns/mgmt add block 0 read_only=1
T/ini_groups/one/luns/mgmt add file 255
T/ini_groups/one/initiators/mgmt add iqn.*:x
T/ini_groups/one/initiators/mgmt add !iqn.a/b#127.0.0.1
T/ini_groups/one/addr_method LUN
T/ini_groups/one/io_grouping_type 12
T/ini_groups/one/cpu_mask 1
T/ini_groups/one/per_sess_dedicated_tgt_threads 1
T/enabled 1
targets/iscsi/mgmt add_target plain
targets/iscsi/plain/luns/mgmt add file 0
targets/iscsi/plain/luns/mgmt add 2:0:0:0 1 read_only=1
targets/iscsi/enabled 1
targets/scst_local/mgmt add_target local
targets/scst_local/local/luns/mgmt add file 0
targets/scst_local/local/scsi_transport_version 0x960
targets/scst_local/local/phys_transport_version 0x1
"""
"""Something other than the default for all that is configured with values or at creation."""


def configure(settings: str) -> None:
    directory = f"targets/iscsi/{TARGET}"
    for line in settings.format(target=TARGET).splitlines():
        path, _, text = line.replace("T/", f"{directory}/", line.startswith("T/")).partition(" ")
        if path:
            write(ROOT / path, text)


def comparable(configuration: Configuration) -> Configuration:
    """Without the copy manager's LUNs: their numbers tell in which order devices were made."""
    configuration.drivers["copy_manager"].targets["copy_manager_tgt"].luns.clear()
    return configuration


def texts() -> dict[Path, str]:
    """What the files of devices, targets and their driver read, and those of the root."""
    found: dict[Path, str] = {}
    for top, directories, _ in os.walk(ROOT):
        directories[:] = {*directories} - {"copy_manager", "sessions", "sgv", "handlers"}
        found |= {Path(top, name): text for name, text, _ in read_all(Path(top))}
    return found


@contextmanager
def daemon(directory: Path) -> Iterator[Daemon]:
    with Daemon(directory, behaviour=None) as running:
        yield running.ready()
        status, _ = running.stop()
    assert status == 0, running.log
    assert "Traceback" not in running.log, running.log


def on_machine(directory: Path, body: Callable[[], None]) -> None:
    """Run *body* on the recorded machine, which has a SCSI disk and a CD-ROM drive for once."""

    def with_devices() -> None:
        machine = Machine(directory / "sys")
        machine.plug("2:0:0:0", 0, "host2")
        machine.plug("1:0:0:0", 5, "host1")
        mount(str(machine.scsi_devices.parent), "/sys/class", "", MountFlag.BIND)
        body()

    need_machine()
    on_recorded_machine(with_devices)


def test_a_configuration_comes_back(tmp_path: Path) -> None:
    def body() -> None:
        with daemon(tmp_path):
            nothing = save(ROOT)
            configure(SETTINGS)
            configured, read = save(ROOT), texts()
        with daemon(tmp_path):
            assert save(ROOT) == nothing
            apply(ROOT, configured)
            assert comparable(save(ROOT)) == comparable(configured)
            # And so nothing was configured that is not marked.
            assert texts() == read

    on_machine(tmp_path, body)


CHANGES: Final = """
targets/iscsi/enabled 0
T/enabled 0
setup_id 0x34
handlers/vdisk_fileio/mgmt del_device closed
handlers/vdisk_fileio/mgmt del_device reader
handlers/vdisk_fileio/mgmt add_device reader filename=/back/disk2; removable=1
handlers/vdisk_nullio/mgmt add_device fresh
devices/file/usn 4712
devices/file/threads_num 2
devices/cd/filename
targets/iscsi/mgmt del_attribute IncomingUser jim 12charsecret
targets/iscsi/mgmt add_attribute IncomingUser jack 12charsecret
targets/iscsi/mgmt del_attribute OutgoingUser out 12charsecre2
targets/iscsi/mgmt del_target plain
targets/iscsi/mgmt add_target another
targets/iscsi/another/luns/mgmt add fresh 0
targets/iscsi/another/luns/mgmt add 2:0:0:0 2
handlers/dev_cdrom/mgmt del_device 1:0:0:0
devices/2:0:0:0/threads_num 4
targets/iscsi/another/enabled 1
targets/iscsi/mgmt del_target_attribute {target} IncomingUser jan 12charsecret
targets/iscsi/mgmt add_target_attribute {target} IncomingUser jane 12charsecret
targets/iscsi/mgmt add_target_attribute {target} allowed_portal 10.*
T/DataDigest None
T/MaxBurstLength 131072
T/luns/mgmt replace null 0 read_only=1
T/luns/mgmt del 7
T/luns/mgmt add drive 9
T/ini_groups/mgmt create three
T/ini_groups/three/luns/mgmt add file 1
T/ini_groups/one/luns/mgmt clear
T/ini_groups/one/initiators/mgmt move iqn.*:x three
T/ini_groups/one/initiators/mgmt clear
T/ini_groups/one/initiators/mgmt add iqn.?
T/ini_groups/mgmt del two
"""
"""Read-only attributes that change, and one that gets its default back, are among them."""


def test_a_configuration_is_changed_while_it_runs(tmp_path: Path) -> None:
    def body() -> None:
        with daemon(tmp_path):
            nothing = save(ROOT)
            configure(SETTINGS)
            before = comparable(save(ROOT))
            configure(CHANGES)
            after = comparable(save(ROOT))
            assert before != after
            for wanted in (before, after):
                apply(ROOT, wanted)
                assert comparable(save(ROOT)) == wanted
            apply(ROOT, nothing)
            cleared = save(ROOT)
            assert cleared.handlers == nothing.handlers
            assert {name: found.targets for name, found in cleared.drivers.items()} == {
                name: found.targets for name, found in nothing.drivers.items()
            }

    on_machine(tmp_path, body)


def test_what_can_not_be_written_can_be_given(tmp_path: Path) -> None:
    def body() -> None:
        with daemon(tmp_path):
            configure(SETTINGS)
            for name, handler in save(ROOT).handlers.items():
                names = available(ROOT / "handlers" / name / "mgmt", "parameters")
                fixed = {
                    key
                    for attributes in handler.devices.values()
                    for key, values in attributes.items()
                    if not values[0].writable
                }
                # How large a file is shows when it is opened.
                assert fixed - {*names} <= {"size"}, name

    on_machine(tmp_path, body)
