"""The comparison that the golden tests rely on finds what there is to be found."""

from __future__ import annotations

import pytest
import trio

from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Link, Sub
from scstfs.sysfs.entry import itself
from scstfs.sysfs.node import Tree
from tests.support.recordings import DIRECTORY, Record, differences
from tests.support.replay import Replay, follow

Settings = dict[str, str]


def store(settings: Settings, value: str) -> None:
    settings["value"] = value


VALUE: Attr[Settings, str] = Attr(
    name="value",
    mode=0o644,
    show=lambda settings: settings["value"],
    parse=lambda data: data.decode().strip(),
    store=store,
)
SECRET: Attr[Settings, str] = Attr(name="secret", mode=0o200, parse=bytes.decode, store=store)

TREE: DirType[Settings] = DirType(
    "root",
    (
        VALUE,
        SECRET,
        Sub(
            name="below",
            dirtype=DirType("below", (Link(name="up", target=lambda settings: "value"),)),
            of=itself,
        ),
    ),
)

SCENARIO = r"""# a comment
D
W value|one
N value|two\n
R below/up
R secret
W missing|x
L below
S echo $((1 + 1))
D
""".splitlines()


async def run(scenario: list[str]) -> list[Record]:
    return await Replay(Tree(TREE, {"value": "zero"})).run(scenario)


@pytest.fixture
async def records() -> list[Record]:
    return await run(SCENARIO)


async def test_records(records: list[Record]) -> None:
    assert records[0] == {"comment": "a comment"}
    first = records[1]
    assert first["removed"] == []
    assert first["changed"]["value"] == {"file": "0o644", "size": 4096, "text": "zero\n"}
    assert first["changed"]["secret"] == {"file": "0o200", "size": 4096}
    assert first["changed"]["below"] == {"dir": "0o755"}
    assert first["changed"]["below/up"] == {"link": "../value"}
    assert records[2] == {"op": "write", "path": "value", "data": "one\n", "written": 4}
    assert records[3]["data"] == "two\n"
    assert records[4]["text"] == "two\n"
    assert records[5]["errno"] == "EACCES"
    assert (records[6]["errno"], records[6]["at"]) == ("ENOENT", "open")
    assert records[7]["names"] == ["up"]
    assert records[8]["out"] == "2\n"
    assert list(records[9]["changed"]) == ["value"]


async def test_links_are_followed() -> None:
    tree = Tree(TREE, {"value": "zero"})
    assert follow(tree, "below/up") == tree.resolve("value")
    assert follow(tree, "below/../value") == tree.resolve("value")


async def test_a_run_is_like_itself(records: list[Record]) -> None:
    assert differences(records, await run(SCENARIO)) == []


@pytest.mark.parametrize(
    ("number", "other"),
    [
        (3, {"errno": "EINVAL"}),
        (3, {"written": 3}),
        (4, {"text": "three\n"}),
        (5, {"errno": "EIO"}),
        (6, {"errno": "ENOENT", "at": ""}),
        (7, {"names": []}),
    ],
)
async def test_other_outcomes(records: list[Record], number: int, other: Record) -> None:
    actual = await run(SCENARIO)
    actual[number].update(other)
    [found] = differences(records, actual)
    assert found.startswith(f"line {number + 1} ")


async def test_missing_and_other_entries(records: list[Record]) -> None:
    actual = await run(SCENARIO)
    del actual[1]["changed"]["below/up"]
    actual[1]["changed"]["secret"]["file"] = "0o600"
    actual[1]["changed"]["more"] = {"dir": "0o755"}
    found = differences(records, actual)
    assert len(found) == 3
    assert all(line.startswith("line 2 tree") for line in found)


async def test_the_last_dump_tells_what_is_missing_without_the_others(
    records: list[Record],
) -> None:
    tree = Tree(TREE, {"value": "zero"})
    actual = await Replay(tree, every_dump=False).run(SCENARIO)
    assert actual[1] == {"op": "dump", "skipped": True}
    assert differences(records, actual) == []
    del actual[9]["changed"]["below/up"]
    [found] = differences(records, actual)
    assert found.startswith("line 10 tree below/up: expected {'link': '../value'}, got {}")


async def test_what_initiators_are_told() -> None:
    class Echo:
        def perform(self, kind: str, argument: str) -> Record:
            return {"said": f"{kind} {argument}"}

    tree = Tree(TREE, {"value": "zero"})
    records = await Replay(tree, initiators=Echo()).run(["I a=iqn.x:a iqn.t", "C a 0 000000000000"])
    assert records[1] == {
        "op": "io",
        "kind": "C",
        "arg": "a 0 000000000000",
        "said": "C a 0 000000000000",
    }
    assert differences(records, records) == []
    [found] = differences(records, [records[0], records[1] | {"said": "nothing"}])
    assert found.startswith("line 2 C a 0 000000000000: expected ")


async def test_what_is_left_out(records: list[Record]) -> None:
    actual = await run(SCENARIO)
    actual[1]["changed"]["more"] = {"dir": "0o755"}
    actual[7]["names"].append("also")
    assert len(differences(records, actual)) == 2
    assert differences(records, actual, ["^more$", "^below/also$"]) == []


async def test_texts_that_depend_on_timing(records: list[Record]) -> None:
    expected, actual = await run(SCENARIO), await run(SCENARIO)
    for number, run_of in enumerate((expected, actual)):
        entry = {"file": "0o444", "size": 4096, "text": f"{number}\n"}
        run_of[1]["changed"]["trace_cmds"] = entry
    assert differences(expected, actual) == []
    actual[1]["changed"]["trace_cmds"] = {"file": "0o644", "size": 4096, "text": "1\n"}
    assert len(differences(expected, actual)) == 1


async def test_runs_of_different_lengths(records: list[Record]) -> None:
    [found] = differences(records, records[:-1])
    assert found == "10 records expected, 9 are there"


def test_lines_that_are_none() -> None:
    with pytest.raises(ValueError, match="no scenario line"):
        trio.run(run, ["X nonsense"])


def test_recordings_are_there() -> None:
    for recording in DIRECTORY.glob("*.jsonl"):
        # The recorded answers to single commands have no scenario.
        assert recording.with_suffix(".txt").exists() or recording.stem == "scsi"
