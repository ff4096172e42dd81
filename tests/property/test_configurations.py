"""From any configuration to any other: completely or not at all, and other sessions are not
disturbed.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from scstfs.admin import conf
from scstfs.admin.apply import Failed, apply
from scstfs.admin.configuration import Item
from scstfs.admin.files import Files
from scstfs.admin.kinds import DEVICE, DRIVER, HANDLER, LUN, TARGET
from scstfs.admin.plan import plan
from tests.interop.storage import Storage
from tests.support.admin import Admin, administered, essence
from tests.support.configurations import MIB, backing_files, random_text
from tests.support.initiator import Initiator
from tests.support.iscsi_login import ISID

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAIRS: Final = int(os.environ.get("SCSTFS_CONFIGURATION_PAIRS", "12"))
FAULTY_PAIRS: Final = int(os.environ.get("SCSTFS_FAULTY_CONFIGURATION_PAIRS", "1"))

SHARED: Final = "iqn.2006-10.net.example:shared"


class Failing(Files):
    """Refuses the write with a number, once."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.fails_at = 0
        self.writes = 0

    def write(self, name: str, data: str) -> int:
        self.writes += 1
        if self.writes == self.fails_at:
            raise OSError(errno.EIO, "a fault")
        return super().write(name, data)


def wanted(seed: int, directory: Path) -> Item:
    """A random configuration, with the target in which the initiator of this module works."""
    parsed = conf.parse(random_text(seed, directory, local=True))
    assert not parsed.problems
    root = parsed.configuration
    shared = conf.parse(
        f"""
        HANDLER vdisk_nullio {{
            DEVICE shared {{
                size {MIB}
            }}
        }}
        TARGET_DRIVER iscsi {{
            TARGET {SHARED} {{
                LUN 0 shared
                rel_tgt_id 99
                enabled 1
            }}
        }}
        """
    ).configuration
    for kind, child in ((HANDLER, DEVICE), (DRIVER, TARGET)):
        for name, item in shared.of(kind).items():
            parent = root.item(kind, name) or root.add(kind, name)
            for each in item.of(child).values():
                each.parent = parent
                parent.items.setdefault(child, {})[each.name] = each
    driver = root.of(DRIVER)["iscsi"]
    driver.settings["enabled"] = shared.of(DRIVER)["iscsi"].of(TARGET)[SHARED].settings["enabled"]
    # Sessions would need the new secrets at their next login, but there is none.
    assert shared.of(DRIVER)["iscsi"].of(TARGET)[SHARED].of(LUN)
    return root


@contextmanager
def working(served: Storage) -> Iterator[None]:
    """An initiator reads from the shared target all the time, and must see no error."""
    host, _, port = served.portal.rpartition(":")
    initiator = Initiator.connect(host, int(port), isid=ISID)
    stop = threading.Event()
    wrong: list[str] = []

    def work() -> None:
        read = "28000000000000000800"
        while not stop.is_set():
            task = initiator.command(read, expect=4096)
            if task.status:
                wrong.append(f"status {task.status} {task.sense.hex()}")

    with initiator:
        initiator.login(SHARED)
        initiator.command("000000000000")
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(20)
        assert not thread.is_alive()
        assert not wrong, wrong
        assert initiator.complaints == []


def go(admin: Admin, files: Files, to: Item) -> None:
    apply(admin.look(), to, files)
    assert essence(admin.look()) == essence(to)
    assert plan(admin.look(), to).steps == []


def test_what_is_applied_is_what_runs(tmp_path: Path) -> None:
    backing_files(tmp_path)
    with administered(tmp_path) as admin:
        files = Files(admin.root)
        go(admin, files, wanted(0, tmp_path))
        with working(admin.served):
            for seed in range(1, 2 * PAIRS):
                go(admin, files, wanted(seed, tmp_path))


def test_a_fault_anywhere_changes_nothing(tmp_path: Path) -> None:
    backing_files(tmp_path)
    with administered(tmp_path) as admin:
        files = Failing(admin.root)
        for seed in range(100, 100 + 2 * FAULTY_PAIRS, 2):
            before, to = wanted(seed, tmp_path), wanted(seed + 1, tmp_path)
            go(admin, files, before)
            steps = len(plan(admin.look(), to).steps)
            with working(admin.served):
                refused = 0
                while files.writes >= files.fails_at:
                    files.fails_at += 1
                    files.writes = 0
                    failed = fault(admin, files, to)
                    if failed is None:
                        # Another way was found, or there was nothing left to fail.
                        assert essence(admin.look()) == essence(to)
                        writes, at = files.writes, files.fails_at
                        files.fails_at = 0
                        go(admin, files, before)
                        files.writes, files.fails_at = writes, at
                        continue
                    refused += 1
                    assert not failed.left
                    assert "a fault" in failed.message
                    assert essence(admin.look()) == essence(before), files.fails_at
                assert refused > steps // 2
            files.fails_at = 0


def fault(admin: Admin, files: Files, to: Item) -> Failed | None:
    """Apply; how that failed, if it did."""
    try:
        apply(admin.look(), to, files)
    except Failed as failed:
        return failed
    return None
