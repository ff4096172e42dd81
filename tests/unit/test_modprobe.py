"""contrib/modprobe.d/scstfs.conf: SCST's modules can be loaded, and that does nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scstfs.handlers.passthrough import pass_through_handlers
from scstfs.handlers.vdisk_handlers import vdisk_handlers
from tests.support.needs import need_programs

DIRECTORY = Path(__file__).parents[2] / "contrib" / "modprobe.d"

#: Modules of handlers, as SCST's init script finds them, by the first characters of their names.
HANDLER_MODULES = {
    "dev_cdrom": "scst_cdrom",
    "dev_changer": "scst_changer",
    "dev_disk": "scst_disk",
    "dev_modisk": "scst_modisk",
    "dev_processor": "scst_processor",
    "dev_raid": "scst_raid",
    "dev_tape": "scst_tape",
    "vdisk": "scst_vdisk",
    "vcdrom": "scst_vdisk",
}
MODULES = sorted({"scst", "scst_local", "iscsi_scst", *HANDLER_MODULES.values()})


def modprobe(*arguments: str) -> int:
    need_programs("modprobe")
    return subprocess.run(
        ["modprobe", "-C", str(DIRECTORY), *arguments], capture_output=True, check=False
    ).returncode


def test_every_handler_has_a_module_that_can_be_loaded() -> None:
    names = [handler.name for handler in vdisk_handlers()]
    names += [handler.name for handler in pass_through_handlers()]
    for name in names:
        assert any(name.startswith(prefix) for prefix in HANDLER_MODULES), name


@pytest.mark.parametrize("module", [*MODULES, "iscsi-scst"])
def test_a_module_can_be_loaded_and_taken_away(module: str) -> None:
    assert modprobe(module) == 0
    assert modprobe("-r", module) == 0


def test_several_and_those_with_parameters() -> None:
    assert modprobe("-a", *MODULES) == 0
    assert modprobe("scst", "scst_threads=4") == 0


def test_what_scstfs_does_not_have_is_left_alone() -> None:
    lines = (DIRECTORY / "scstfs.conf").read_text().splitlines()
    named = [line.split()[1] for line in lines if line and not line.startswith("#")]
    assert sorted(named) == sorted(MODULES * 2)
    assert modprobe("no_such_module") != 0
