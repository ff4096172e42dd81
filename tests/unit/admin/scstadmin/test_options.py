from __future__ import annotations

import pytest

from scstfs.admin.scstadmin.errors import BadOption, Stop
from scstfs.admin.scstadmin.options import OPTIONS, Arguments, check, read


def given(*argv: str) -> dict[str, str]:
    arguments = read(argv)
    return {o.name: arguments[o.name] for o in OPTIONS if o.name in arguments}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], {}),
        (["-list_device"], {"list_device": ""}),
        (["--list_device", "disk"], {"list_device": "disk"}),
        (["-LIST_DEVICE=disk"], {"list_device": "disk"}),
        (["-list_devi"], {"list_device": ""}),
        (["-list_dri"], {"list_driver": ""}),
        (["-list_device", "-noprompt"], {"list_device": "", "noprompt": ""}),
        (["-open_dev", "disk", "-handler", "h"], {"open_dev": "disk", "handler": "h"}),
        (["-open_dev", "-x"], {"open_dev": "-x"}),
        (["word", "-force", "another", "--", "-lip"], {"force": ""}),
        (["-attributes", "a=1,b"], {"attributes": "a=1,b"}),
        (["-config"], {"config": ""}),
        (["-config", "-"], {"config": "-"}),
        (["-dri", "x", "-driver", "y"], {"driver": "y"}),
    ],
)
def test_words(argv: list[str], expected: dict[str, str]) -> None:
    assert given(*argv) == expected


@pytest.mark.parametrize(
    ("argv", "problems"),
    [
        (["-nonsense"], ["Unknown option: nonsense"]),
        (["-open_dev"], ["Option open_dev requires an argument"]),
        (["-open_dev="], ["Option open_dev requires an argument"]),
        (["-noprompt=1"], ["Option noprompt does not take an argument"]),
        (["-add_i", "x", "-rem_l"], ["Option rem_l requires an argument"]),
        (["-a", "-b"], ["Option a is ambiguous (", "Unknown option: b"]),
    ],
)
def test_words_that_are_wrong(argv: list[str], problems: list[str]) -> None:
    with pytest.raises(BadOption) as caught:
        read(argv)
    found = caught.value.problems
    assert [said.partition("(")[0] + "(" * ("(" in said) for said in found] == problems


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["-add_target", "t", "-rem_target", "t", "-driver", "d"],
         "Please specify only one non-query operation at a time.\n"),
        (["-list_device", "-add_target", "t", "-driver", "d"],
         "Please specify only one non-query operation at a time.\n"),
        (["-add_target", "t"], "Please specify -driver with -add_target.\n"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(argv: list[str], complaint: str) -> None:
    with pytest.raises(Stop) as caught:
        check(read(argv))
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    "argv", [["-list_device", "-list_target"], ["-add_target", "t", "-driver", "d", "-force"]]
)
def test_options_that_do(argv: list[str]) -> None:
    check(read(argv))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a", {"a": "1"}),
        ("a=,b=x=y,,c", {"a": "", "b": "x=y", "c": "1"}),
    ],
)
def test_attributes(text: str, expected: dict[str, str]) -> None:
    assert Arguments({"attributes": text}).attributes == expected
