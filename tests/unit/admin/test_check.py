from __future__ import annotations

from pathlib import Path

import pytest

from scstfs.admin import conf
from scstfs.admin.check import check
from scstfs.startup.load import look
from tests.support.whole import Whole


def findings(text: str, everything: Whole | None = None) -> list[str]:
    current = None if everything is None else look(everything.tree)
    return [str(finding) for finding in check(conf.parse(text), current)]


def disk(*attributes: str, name: str = "d") -> str:
    lines = "".join(f"{attribute}\n" for attribute in attributes)
    return f"HANDLER vdisk_nullio {{\nDEVICE {name} {{\n{lines}}}\n}}\n"


def target(*inside: str, driver: str = "enabled 1") -> str:
    lines = "".join(f"{line}\n" for line in inside)
    return f"TARGET_DRIVER iscsi {{\n{driver}\nTARGET iqn.x {{\n{lines}}}\n}}\n"


BARE = [
    # checks of the file itself
    (disk() + disk(), ["5:1: error: HANDLER vdisk_nullio is in line 1 already"]),
    (disk() + "HANDLER vdisk_fileio {\nDEVICE d\n}\n",
     ["6:1: error: DEVICE d is in line 2 already"]),
    (disk("a {"),
     ["1:22: error: brace is not closed", "3:1: error: DEVICE has no a with a block"]),
    (disk("usn 1", "usn 2"), ["3:1: error: usn has several values: 1, 2"]),
    (disk(*(f"usn {number}" for number in range(1, 9))),
     ["3:1: error: usn has several values: 1, 2, 3, 4, 5, ..."]),
    (disk(name="a/b"), ["2:1: error: the name of device a/b must have no slash"]),
    (disk() + target("LUN x d"), ["8:1: error: x is not a LUN number"]),
    (disk(name="disk") + target("LUN 0 disc"),
     ["8:1: error: there is no device disc; did you mean disk?"]),
    (disk() + target("LUN 1 d"),
     ["8:1: warning: target iqn.x has no LUN 0, which initiators need to find the others"]),
    (disk() + target("LUN 0x0 d", "LUN 0 d"), ["8:1: error: 0x0 is not a LUN number"]),
    (disk() + target("GROUP g {", "LUN 7 d", "}"),
     ["9:1: warning: group g of iqn.x has no LUN 0, which initiators need to find the others"]),
    (target('IncomingUser "joe 12345678901"'),
     ["4:1: error: the secret of IncomingUser joe has fewer than 12 bytes"]),
    (target('IncomingUser "joe 12345678901ä"'), []),
    (target('IncomingUser "joe 123456789012"', 'IncomingUser "joe 123456789013"'),
     ["5:1: error: IncomingUser joe has two secrets"]),
    (target("GROUP g {", "INITIATOR iqn.i", "}", "GROUP h {", "INITIATOR iqn.i", "}"),
     ["8:1: error: initiator iqn.i is in group g already"]),
    ("DEVICE_GROUP g {\nDEVICE d\n}\n", ["2:1: error: there is no device d"]),
    (disk() + "DEVICE_GROUP g {\nDEVICE d\n}\nDEVICE_GROUP h {\nDEVICE d\n}\n",
     ["9:1: error: device d is in group g already"]),
    ("DEVICE_GROUP g {\nTARGET_GROUP a {\ngroup_id 7\n}\nTARGET_GROUP b {\ngroup_id 7\n}\n}\n",
     ["6:1: error: group_id 7 is already that of target group of g a"]),
    (disk("filename /nowhere"), ["3:1: error: /nowhere: No such file or directory"]),
    (disk("filename /"), ["3:1: error: / is neither a file nor a block device"]),
    (disk("filename /nowhere", "active 0"), []),
    (disk("nonsense 1"), []),
    # line and column are those of the wrong value or statement
    (target('IncomingUser "joe 123456789012"', '  IncomingUser "jim short"',
            'IncomingUser "jack 123456789012"'),
     ["5:3: error: the secret of IncomingUser jim has fewer than 12 bytes"]),
    ("HANDLER h {\n  DEVICE d {\n\tfilename /nowhere\n}\n}\n",
     ["3:2: error: /nowhere: No such file or directory"]),
    (disk() + target("  LUN 0 disc", "\tGROUP g {", " INITIATOR i", "}", "GROUP h {",
                     "    INITIATOR i", "}"),
     ["8:3: error: there is no device disc", "13:5: error: initiator i is in group g already"]),
    # invalid file names and LUN numbers
    (disk('filename "/a disk"'),
     ["3:1: error: /a disk: no device can be made with blanks or ; in a file name"]),
    (disk("filename /a;b"),
     ["3:1: error: /a;b: no device can be made with blanks or ; in a file name"]),
    (disk("filename /a\0b"), ["3:1: error: /a\0b is not a file name"]),
    (disk() + target(f"LUN {'9' * 5000} d"), [f"8:1: error: {'9' * 5000} is not a LUN number"]),
    (disk() + target("LUN \u0663 d"), ["8:1: error: \u0663 is not a LUN number"]),
    # secrets in wrong places are not shown
    (target('IncomingUser "joe 123456789012 3"'),
     ["4:1: error: the secret of IncomingUser joe has blanks"]),
    (target('"IncomingUser joe 123456789012" {', "}"),
     ["4:1: error: TARGET has no IncomingUser ... with a block",
      "4:1: error: TARGET has no attribute IncomingUser ...; quotes belong around the value only"]),
    (target('"IncomingUser joe" 123456789012 3'),
     ["4:1: error: quote the value of IncomingUser ..., which has blanks",
      "4:1: error: TARGET has no attribute IncomingUser ...; quotes belong around the value only"]),
    (target('"IncomingUser joe 123456789012"', '"" ""'),
     ["4:1: error: TARGET has no attribute IncomingUser ...; quotes belong around the value only",
      "5:1: error: TARGET has no attribute ; quotes belong around the value only"]),
    ("", ["warning: it configures nothing"]),
    ("# a comment\nHANDLER vdisk_nullio {\n}\n", ["warning: it configures nothing"]),
    ("setup_id 7\n", []),
    ("HANDLER h {\nDEVICE d {\nusn abc\n}\nDEVICE e {\nusn abc\n}\n}\n",
     ["6:1: error: usn abc is already that of device d"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BARE)
def test_what_a_file_tells_by_itself(text: str, expected: list[str]) -> None:
    assert findings(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HANDLER vdisk_filio {\n}\n",
         ["1:1: error: there is no handler vdisk_filio; did you mean vdisk_fileio?"]),
        ("TARGET_DRIVER fcst {\n}\n", ["1:1: error: there is no target driver fcst"]),
        (disk("nv_cahce 1", "size 1048576"),
         ["3:1: error: DEVICE has no attribute nv_cahce; did you mean nv_cache?"]),
        ("poll_uss 1\n", ["1:1: error: SCST has no attribute poll_uss; did you mean poll_us?"]),
        (target("MaxBurstLenght 512"),
         ["4:1: error: TARGET has no attribute MaxBurstLenght; did you mean MaxBurstLength?"]),
        (target("enabled 1", driver=""), ["3:1: warning: iqn.x is enabled but its driver is not"]),
        (target("enabled 1"), []),
        (target('IncomingUser "joe 12charsecret"', 'IncomingUser "jim 12charsecret"'), []),
    ],
)  # fmt: skip
async def test_what_the_tree_knows_besides(
    everything: Whole, text: str, expected: list[str]
) -> None:
    assert findings(text, everything) == expected


async def test_what_nobody_knows_is_let_through_where_there_is_no_example(
    everything: Whole,
) -> None:
    assert findings(disk("something_new 1"), everything) == []
    await everything.add_null("there")
    assert findings(disk("something_new 1"), everything) == [
        "3:1: error: DEVICE has no attribute something_new"
    ]


async def test_what_runs_has_no_mistakes(everything: Whole, tmp_path: Path) -> None:
    await everything.add_file(tmp_path / "disk", "nv_cache=1")
    directory = await everything.add_target("iqn.x")
    await everything.write(f"{directory}/luns/mgmt", "add disk 0\n")
    await everything.write("targets/iscsi/mgmt", "add_target_attribute iqn.x IncomingUser "
                           "joe 12charsecret\n")  # fmt: skip
    await everything.write(f"{directory}/enabled", "1\n")
    await everything.write("targets/iscsi/enabled", "1\n")
    assert findings(conf.render(look(everything.tree)), everything) == []
