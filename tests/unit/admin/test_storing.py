from __future__ import annotations

import os
import stat
from pathlib import Path
from random import Random

import pytest

from scstfs.admin import conf, storing
from scstfs.admin.merge import merge
from scstfs.admin.mistakes import Mistake
from tests.support.admin import essence
from tests.support.configurations import random_text

OLD = """\
# Our storage. Ask Ann before you change anything.

setup_id 0x7            # of SCST as a whole
TARGET_DRIVER iscsi {
    # first the targets
    TARGET iqn.b {
        comment "b # b"     # what b is for
        LUN 0 two           # two is the one with the logs
        enabled 1
    }

    TARGET iqn.a {
        LUN 0 one
        IncomingUser "joe 12charsecret" # joe
        IncomingUser "jim 12charsecret" # jim
    }
    enabled 1
}

HANDLER vdisk_nullio {
    DEVICE two
    DEVICE one {
        threads_num 3
        # that is all
    }
}
# the end
"""


def changed(*pairs: tuple[str, str]) -> str:
    text = OLD
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    return text


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("0x7  ", "0x8  ")],
        [("threads_num 3", "threads_num 4")],
        [('"b # b"', r'"b \# c"')],
        [('        IncomingUser "joe 12charsecret" # joe\n', "")],
        [('    TARGET iqn.b {\n        comment "b # b"     # what b is for\n'
          "        LUN 0 two           # two is the one with the logs\n"
          "        enabled 1\n    }\n", "")],
        [("    DEVICE two\n", "")],
        [("        # that is all\n    }\n", "        # that is all\n    }\n\tDEVICE three\n")],
        [("        enabled 1\n", "        enabled 0\n")],
    ],
)  # fmt: skip
def test_only_what_differs_is_changed_in_a_file(pairs: list[tuple[str, str]]) -> None:
    """The merge of the old text and the new configuration is what a person would have written."""
    wanted = changed(*pairs)
    assert merge(OLD, conf.parse(wanted).configuration) == wanted


@pytest.mark.parametrize("seed", range(40))
def test_a_merged_file_says_what_is_to_be_said(seed: int, tmp_path: Path) -> None:
    chance = Random(seed)
    old = random_text(seed, tmp_path)
    lines = old.split("\n")
    for number in range(len(lines), -1, -1):
        if chance.random() < 0.2:
            lines.insert(number, f"# comment {number}")
    new = conf.parse(random_text(seed + 1, tmp_path)).configuration
    merged = merge("\n".join(lines), new)
    assert merged is not None
    assert essence(conf.parse(merged).configuration) == essence(new)


@pytest.mark.parametrize("old", ["HANDLER\n", "TARGET_DRIVER iscsi {\nTARGET\nLUN\n}\n", "LUN 0\n"])
def test_a_file_with_statements_that_say_too_little(old: str) -> None:
    wanted = conf.parse(OLD).configuration
    merged = merge(old, wanted)
    text = conf.render(wanted) if merged is None else merged
    assert essence(conf.parse(text).configuration) == essence(wanted)


@pytest.mark.parametrize("old", ["a {\n", "HANDLER h { DEVICE d }\n", "a 1 2 3 4\n"])
def test_a_file_that_cannot_be_kept(old: str) -> None:
    assert merge(old, conf.parse("").configuration) is None


def test_a_new_file_is_only_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "scst.conf"
    os.umask(0)
    assert storing.save(str(path), conf.parse(OLD).configuration)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert essence(storing.read(str(path)).configuration) == essence(conf.parse(OLD).configuration)
    assert os.listdir(tmp_path) == ["scst.conf"]


def test_a_file_keeps_its_mode_its_place_and_its_comments(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    path, link = tmp_path / "etc" / "real", tmp_path / "scst.conf"
    path.write_text(OLD)
    path.chmod(0o640)
    link.symlink_to("etc/real")
    assert storing.save(str(link), conf.parse(changed(("0x7", "0x9"))).configuration)
    assert link.is_symlink()
    assert path.read_text() == changed(("0x7", "0x9"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "scst.conf"
    path.write_text(OLD)
    os.chown(path, 12345, 54321)
    storing.save(str(path), conf.parse(OLD).configuration)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    """For example /dev/null, which the whole machine needs."""
    link, pipe = tmp_path / "device", tmp_path / "pipe"
    link.symlink_to("/dev/null")
    os.mkfifo(pipe)
    before = os.stat("/dev/null")
    for path in link, pipe, tmp_path:
        with pytest.raises(Mistake, match="is not a regular file"):
            storing.save(str(path), conf.parse(OLD).configuration)
    assert os.stat("/dev/null").st_rdev == before.st_rdev
    assert sorted(os.listdir(tmp_path)) == ["device", "pipe"]


def test_a_file_that_cannot_be_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    path = tmp_path / "scst.conf"
    path.write_text(OLD)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Mistake, match=r"scst.conf: No space left on device"):
        storing.save(str(path), conf.parse("").configuration)
    assert path.read_text() == OLD
    assert os.listdir(tmp_path) == ["scst.conf"]


def test_what_is_no_file_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="Is a directory"):
        storing.read(str(tmp_path))
    with pytest.raises(Mistake, match="No such file or directory"):
        storing.read(str(tmp_path / "none"))
