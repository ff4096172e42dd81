from __future__ import annotations

from pathlib import Path

import pytest

from scstfs.admin import conf
from scstfs.admin.initial_file import InitialFile
from scstfs.errors import ExitStatus, UsageError
from scstfs.persist.running import TreeWrite
from scstfs.startup.load import commands, load, look, resume
from tests.support.admin import essence
from tests.support.configurations import backing_files, random_text
from tests.support.whole import Whole, whole

GROUPS = """
HANDLER vdisk_nullio {
    DEVICE d
}
TARGET_DRIVER iscsi {
    TARGET iqn.t
}
DEVICE_GROUP g {
    DEVICE d
    TARGET_GROUP without {
        TARGET iqn.t
        TARGET elsewhere
    }
    TARGET_GROUP with {
        group_id 7
        TARGET yonder {
            rel_tgt_id 9
        }
    }
}
"""
"""Identifiers that are not set read 0, which cannot be written."""


async def configured(everything: Whole, directory: Path, text: str) -> list[TreeWrite]:
    file = directory / "scst.conf"
    file.write_text(text)
    return await load(everything.tree, look(everything.tree), InitialFile.read(str(file)))


async def unchecked(everything: Whole, text: str) -> list[TreeWrite]:
    """Random configurations may have what `check` finds strange."""
    executed = commands(look(everything.tree), conf.parse(text).configuration)
    await resume(everything.tree, executed)
    return executed


@pytest.mark.parametrize("seed", [None, *range(40)])
async def test_what_is_kept_leads_to_the_same(seed: int | None, tmp_path: Path) -> None:
    """Both the executed commands, and those from an empty tree to the present one."""
    backing_files(tmp_path)
    text = GROUPS if seed is None else random_text(seed, tmp_path)
    async with whole(tmp_path / "state") as everything:
        bare = look(everything.tree)
        executed = await unchecked(everything, text)
        found = look(everything.tree)
        made = commands(bare, found)
    for kept in executed, made:
        async with whole(tmp_path / "state") as again:
            await resume(again.tree, kept)
            assert essence(look(again.tree)) == essence(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("HANDLER vdisk_fileio {\nDEVICE d {\nfilename /nowhere\n}\n}\n",
         ["3:1: error: /nowhere: No such file or directory"]),
        ("HANDLER vdisk_nullio {\nDEVICE d {\nblocksize 7\n}\n}\n",
         ["2: cannot add devices/d: blocksize=7: Invalid argument "]),
        ("TARGET_DRIVER iscsi {\nTARGET iqn.t {\nMaxBurstLength x\nQueuedCommands y\n}\n}\n",
         ["3: cannot set MaxBurstLength of targets/iscsi/iqn.t to x: Invalid argument "]),
        ("a {\n", ["1:1: error: the file has no a with a block",
                   "1:1: error: SCST has no attribute a",
                   "1:3: error: brace is not closed"]),
    ],
)  # fmt: skip
async def test_mistakes_are_told_by_line(
    everything: Whole, tmp_path: Path, text: str, said: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        await configured(everything, tmp_path, text)
    assert caught.value.status == ExitStatus.CONFIG
    lines = [line.removeprefix(f"{tmp_path}/scst.conf:") for line in str(caught.value).split("\n")]
    assert [line.partition("(")[0] for line in lines] == said


async def test_no_message_about_what_was_kept_holds_a_secret(everything: Whole) -> None:
    directory = await everything.add_target("iqn.t")
    await everything.write(f"{directory}/enabled", "1\n")
    add = "add_target_attribute iqn.t IncomingUser joe 12charsecret\n"
    await everything.write("targets/iscsi/mgmt", add)
    kept = [
        ("targets/iscsi/mgmt", "add_target_attribute iqn.none IncomingUser joe 12charsecret\n"),
        ("targets/iscsi/mgmt", "add_attribute OutgoingUsre joe 12charsecret\n"),
        (f"{directory}/none", "joe 12charsecret\n"),
        (f"{directory}/MaxBurstLength", "never\n"),
    ]
    with pytest.raises(UsageError) as caught:
        await resume(everything.tree, kept)
    assert caught.value.status == ExitStatus.RESUME
    assert "secret" not in str(caught.value)
    assert [line.split(": ")[1] for line in str(caught.value).split("\n")] == [
        "add_target_attribute iqn.none IncomingUser >targets/iscsi/mgmt",
        "add_attribute OutgoingUsre joe >targets/iscsi/mgmt",
        f"joe ******** >{directory}/none",
        f"never >{directory}/MaxBurstLength",
    ]


async def test_a_missing_file_is_no_mistake_where_it_says_so(
    everything: Whole, tmp_path: Path
) -> None:
    missing = tmp_path / "none.conf"
    bare = look(everything.tree)
    assert await load(everything.tree, bare, InitialFile.read(f"-{missing}")) == []
    with pytest.raises(UsageError, match="No such file") as caught:
        await load(everything.tree, bare, InitialFile.read(str(missing)))
    assert caught.value.status == ExitStatus.CONFIG
    with pytest.raises(UsageError, match="Is a directory"):
        await load(everything.tree, bare, InitialFile.read(f"-{tmp_path}"))
    assert essence(look(everything.tree)) == essence(conf.parse("").configuration)
