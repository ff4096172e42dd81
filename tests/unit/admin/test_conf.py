from __future__ import annotations

from pathlib import Path

import pytest

from scstfs.admin import conf
from scstfs.admin.configuration import Item
from scstfs.admin.kinds import DEVICE, DRIVER, GROUP, HANDLER, INITIATOR, LUN, TARGET
from tests.support.admin import essence
from tests.support.configurations import random_text

TEXT = """\
setup_id 0x7    # of SCST as a whole
HANDLER vdisk_fileio {
    DEVICE disk {
        filename "/a disk"
    }
}
TARGET_DRIVER iscsi {
    enabled 1
    TARGET iqn.x {
        IncomingUser "joe 12charsecret"
        IncomingUser "jim 12charsecret"
        LUN 0 disk
        GROUP some {
            LUN 1 disk {
                read_only 1
            }
            INITIATOR iqn.*
        }
    }
}
"""


def of(item: Item, *path: object) -> Item:
    for kind, name in zip(path[::2], path[1::2], strict=True):
        found = item.item(kind, name)  # type: ignore[arg-type]
        assert found is not None, name
        item = found
    return item


def test_what_a_file_says() -> None:
    parsed = conf.parse(TEXT)
    assert parsed.problems == ()
    root = parsed.configuration
    assert root.settings["setup_id"].values == ["0x7"]
    device = of(root, HANDLER, "vdisk_fileio", DEVICE, "disk")
    assert device.settings["filename"].values == ["/a disk"]
    assert (device.line, device.settings["filename"].place.line) == (3, 4)
    target = of(root, DRIVER, "iscsi", TARGET, "iqn.x")
    users = target.settings["IncomingUser"]
    assert users.values == ["joe 12charsecret", "jim 12charsecret"]
    lines = [users.place_of(value).line for value in users.values]
    assert lines[1] == lines[0] + 1
    assert [TEXT.splitlines()[line - 1].split()[-2] for line in lines] == ['"joe', '"jim']
    assert of(target, LUN, "0").device == "disk"
    group = of(target, GROUP, "some")
    assert of(group, LUN, "1").settings["read_only"].values == ["1"]
    assert list(group.of(INITIATOR)) == ["iqn.*"]


@pytest.mark.parametrize("seed", range(60))
def test_what_is_written_is_read_back(seed: int, tmp_path: Path) -> None:
    configuration = conf.parse(random_text(seed, tmp_path)).configuration
    again = conf.parse(conf.render(configuration))
    assert again.problems == ()
    assert essence(again.configuration) == essence(configuration)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("HANDLER {\n}\n", "1:1: HANDLER takes one name"),
        ("[HANDLER vdisk]\n", f"1:1: {conf.FORMER}"),
        ("# old\n[GROUP a b]\n", f"2:1: {conf.FORMER}"),
    ],
)
def test_problems_say_where(text: str, problem: str) -> None:
    assert [str(found) for found in conf.parse(text).problems] == [problem]
