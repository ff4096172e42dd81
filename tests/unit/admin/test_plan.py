"""The steps from one configuration to another, on a tree in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scstfs.admin import conf, describe
from scstfs.admin.initial_file import InitialFile
from scstfs.admin.plan import Impossible, Options, plan
from scstfs.admin.steps import Plan
from scstfs.startup.load import load, look
from tests.support.admin import essence
from tests.support.whole import Whole

START = """\
HANDLER vdisk_nullio {
    DEVICE one
    DEVICE two {
        threads_num 3
    }
}
TARGET_DRIVER iscsi {
    enabled 1
    TARGET iqn.t {
        IncomingUser "joe 12charsecret"
        LUN 0 one
        LUN 1 two
        GROUP g {
            LUN 0 two
            INITIATOR iqn.a
        }
        GROUP h {
            LUN 0 two
        }
        enabled 1
    }
}
DEVICE_GROUP dg {
    DEVICE one
    TARGET_GROUP tg {
        group_id 5
        state active
        TARGET iqn.t
    }
}
"""


async def configure(everything: Whole, directory: Path, text: str) -> None:
    file = directory / "scst.conf"
    file.write_text(text)
    await load(everything.tree, look(everything.tree), InitialFile.read(str(file)))


def way(everything: Whole, text: str, options: Options | None = None) -> Plan:
    return plan(look(everything.tree), conf.parse(text).configuration, options)


def lines(made: Plan) -> list[str]:
    return [describe.line(step) for step in made.steps]


T = "targets/iscsi/iqn.t"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", []),
        ("# a comment", "", []),
        ("enabled 1\n    TARGET", "enabled 1\n    # nothing new\n    TARGET", []),
        ("threads_num 3", "threads_num 4", ["~ set threads_num of devices/two from 3 to 4"]),
        ("threads_num 3", "", ["~ reset threads_num of devices/two from 3 to 1"]),
        ("LUN 1 two", "LUN 1 one", [f"~ assign one instead of two to {T}/luns/1"]),
        ("        LUN 1 two\n", "", [f"- remove {T}/luns/1 (two)"]),
        ("LUN 1 two", "LUN 1 two\n        LUN 2 one", [f"+ add {T}/luns/2 (one)"]),
        (
            "12charsecret",
            "another-secret",
            [
                f"~ set IncomingUser of {T} from joe ******** to joe ********",
            ],
        ),
        (
            "INITIATOR iqn.a",
            "INITIATOR iqn.a\n            INITIATOR iqn.b",
            [f"+ add {T}/ini_groups/g/initiators/iqn.b"],
        ),
        (
            "            INITIATOR iqn.a\n        }\n        GROUP h {",
            "        }\n        GROUP h {\n            INITIATOR iqn.a",
            ["~ move initiator iqn.a from group g to group h"],
        ),
        (
            "    DEVICE one\n    DEVICE",
            "    DEVICE one\n    DEVICE three {\n        rotational 0\n    }\n    DEVICE",
            ["+ add devices/three: rotational=0"],
        ),
        (
            "group_id 5",
            "group_id 6",
            ["~ set group_id of device_groups/dg/target_groups/tg from 5 to 6"],
        ),
        (
            "enabled 1\n    }",
            "enabled 0\n    }",
            [
                f"~ set enabled of {T} from 1 to 0",
                f"~ reset rel_tgt_id of {T} from 1 to 0",
            ],
        ),
        ("        state active\n", "", []),
        (
            "        group_id 5\n",
            "        group_id 0\n",
            [
                "- remove device_groups/dg/target_groups/tg",
                "+ add device_groups/dg/target_groups/tg",
                "~ set state of device_groups/dg/target_groups/tg to active",
                "+ add device_groups/dg/target_groups/tg/iqn.t",
            ],
        ),
    ],
)
async def test_only_what_differs_is_done(
    everything: Whole, tmp_path: Path, old: str, new: str, expected: list[str]
) -> None:
    await configure(everything, tmp_path, START)
    assert old in START or old.startswith("#")
    assert lines(way(everything, START.replace(old, new, 1))) == expected


async def test_all_is_made_before_anything_is_enabled(everything: Whole) -> None:
    made = lines(way(everything, START))
    assert made == [
        "+ add devices/one",
        "+ add devices/two",
        "~ set threads_num of devices/two to 3",
        f"+ add {T}",
        f"~ set IncomingUser of {T} to joe ********",
        f"+ add {T}/luns/0 (one)",
        f"+ add {T}/luns/1 (two)",
        f"+ add {T}/ini_groups/g",
        f"+ add {T}/ini_groups/g/luns/0 (two)",
        f"+ add {T}/ini_groups/g/initiators/iqn.a",
        f"+ add {T}/ini_groups/h",
        f"+ add {T}/ini_groups/h/luns/0 (two)",
        "+ add device_groups/dg",
        "+ add device_groups/dg/devices/one",
        "+ add device_groups/dg/target_groups/tg",
        "~ set group_id of device_groups/dg/target_groups/tg to 5",
        "~ set state of device_groups/dg/target_groups/tg to active",
        "+ add device_groups/dg/target_groups/tg/iqn.t",
        f"~ set enabled of {T} from 0 to 1",
        "~ set enabled of targets/iscsi from 0 to 1",
    ]


async def test_what_goes_goes_last_unless_it_is_in_the_way(
    everything: Whole, tmp_path: Path
) -> None:
    await configure(everything, tmp_path, START)
    other = "HANDLER vdisk_nullio {\n    DEVICE three\n}\nTARGET_DRIVER iscsi {\n    enabled 1\n}\n"
    usual = lines(way(everything, other))
    assert usual.index("+ add devices/three") < usual.index(f"- remove {T}")
    early = lines(way(everything, other, Options(removals_first=True)))
    assert early.index(f"- remove {T}") < early.index("+ add devices/three")


async def test_a_device_that_is_made_anew_keeps_its_luns(everything: Whole, tmp_path: Path) -> None:
    await configure(everything, tmp_path, START)
    text = START.replace("DEVICE one", "DEVICE one {\n        rotational 0\n    }", 1)
    made = lines(way(everything, text, Options(replace=frozenset({"devices/one"}))))
    assert made == [
        f"- remove {T}/luns/0 (one)",
        "- remove device_groups/dg/devices/one",
        "- remove devices/one",
        "+ add devices/one: rotational=0",
        f"+ add {T}/luns/0 (one)",
        "+ add device_groups/dg/devices/one",
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("\nHANDLER none {\n}\n", 2, "there is no handler none"),
        ("\n\nTARGET_DRIVER none {\n}\n", 3, "there is no target driver none"),
    ],
)
async def test_what_no_command_can_make(
    everything: Whole, text: str, line: int, message: str
) -> None:
    with pytest.raises(Impossible) as caught:
        way(everything, text)
    assert (caught.value.line, caught.value.message) == (line, message)


async def test_no_form_of_a_step_shows_secrets(everything: Whole, tmp_path: Path) -> None:
    await configure(everything, tmp_path, START)
    texts = [START.replace("12charsecret", "another-secret"), START.replace("joe", "jim"), ""]
    for text in texts:
        for step in way(everything, text).steps:
            shown = [describe.line(step), json.dumps(describe.data(step))]
            shown += describe.commands(step)
            assert not [line for line in shown if "secret" in line.replace("IncomingUser", "")]
    step = way(everything, texts[0]).steps[0]
    assert "another-secret" in describe.line(step, show_secrets=True)
    assert "another-secret" in "".join(describe.commands(step, show_secrets=True))


async def test_the_commands_of_a_plan_lead_there(everything: Whole, tmp_path: Path) -> None:
    await configure(everything, tmp_path, START)
    text = START.replace("threads_num 3", "threads_num 4").replace("LUN 1 two", "LUN 7 one")
    for step in way(everything, text).steps:
        for command in describe.commands(step, show_secrets=True):
            echo, path = command.split(" >/sys/kernel/scst_tgt/")
            await everything.write(path, echo.removeprefix("echo ").strip("'") + "\n")
    assert lines(way(everything, text)) == []
    assert essence(look(everything.tree)) == essence(conf.parse(text).configuration)
