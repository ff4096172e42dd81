from __future__ import annotations

import random

import pytest

from scstfs.admin.syntax import Document, Statement, parse, quote


def words(text: str) -> list[tuple[str, ...]]:
    document = parse(text)
    assert document.problems == ()
    return [statement.words for statement in document.statements]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n\n   \n# only a comment\n", []),
        ("enabled", [("enabled",)]),
        ("enabled 1\n", [("enabled", "1")]),
        ("\tLUN   0\tdisk1  ", [("LUN", "0", "disk1")]),
        ('filename "/a b"', [("filename", "/a b")]),
        ('comment ""', [("comment", "")]),
        ('comment "# { } no"', [("comment", "# { } no")]),
        (r'comment "a \" and a \\"', [("comment", 'a " and a \\')]),
        (r"comment a\ b", [("comment", "a b")]),
        (r"comment \#1", [("comment", "#1")]),
        ("comment a#b", [("comment", "a")]),
        ("comment a # b", [("comment", "a")]),
        ('comment a"b', [("comment", 'a"b')]),
        ("comment x\\", [("comment", "x\\")]),
        ("enabled 1\r\nname 2\r\n", [("enabled", "1"), ("name", "2")]),
    ],
)
def test_words(text: str, expected: list[tuple[str, ...]]) -> None:
    assert words(text) == expected


def test_blocks_nest_and_know_their_lines() -> None:
    text = "HANDLER h {\n  DEVICE d {\n    a 1\n  }\n  DEVICE e\n}\nlast\n"
    assert parse(text) == Document(
        (
            Statement(
                ("HANDLER", "h"),
                1,
                1,
                (
                    Statement(("DEVICE", "d"), 2, 3, (Statement(("a", "1"), 3, 5, None, 3),), 4),
                    Statement(("DEVICE", "e"), 5, 3, None, 5),
                ),
                6,
            ),
            Statement(("last",), 7, 1, None, 7),
        ),
        (),
    )


def test_a_block_may_stand_in_one_line() -> None:
    (handler,) = parse("HANDLER h { DEVICE d { a 1 } }").statements
    assert handler.block is not None
    (device,) = handler.block
    assert device.words == ("DEVICE", "d")
    assert device.block is not None
    assert [statement.words for statement in device.block] == [("a", "1")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a {\n b 1\n", "1:3: brace is not closed"),
        ("a {\n}\n}\nb 1\n", "3:1: closing brace too many; all that follows is ignored"),
        ("a\n{\n}\n", "2:1: block belongs to nothing; its name goes on the same line"),
        ("\n a b c d e", "2:8: too many words; quote a value that has blanks"),
        ('a "b\nc 1', "1:3: quote is not closed in this line"),
    ],
)
def test_problems_say_where(text: str, problem: str) -> None:
    assert [str(found) for found in parse(text).problems] == [problem]


def test_depth_is_no_problem() -> None:
    depth = 100_000
    document = parse("a {\n" * depth + "}\n" * depth)
    assert document.problems == ()
    assert document.statements[0].end == 2 * depth


def test_whatever_is_quoted_is_read_back() -> None:
    chance = random.Random(3)
    for _ in range(2000):
        value = "".join(chance.choices("ab \t\"\\#{}'/", k=chance.randrange(6)))
        statement = parse(f"name {quote(value)} # comment").statements[0]
        assert statement.words in {("name", value), ("name",) if not value else ()}, value


def test_any_text_gives_statements_or_problems_unless_it_is_blank() -> None:
    chance = random.Random(4)
    for _ in range(2000):
        text = "".join(chance.choices('ab \t\n"\\#{}', k=chance.randrange(30)))
        document = parse(text)
        lines = [line.strip() for line in text.split("\n")]
        is_blank = all(not line or line.startswith("#") for line in lines)
        assert is_blank is not bool(document.statements or document.problems), text
