"""Splitting commands. The lines are from recordings of SCST 3.10, with its answers."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.mgmt import Lexer, Parameter, parse
from scstfs.sysfs.text import fold

Words = list[str]
Parameters = list[tuple[str, ...]]


def words_of(data: bytes) -> list[str]:
    lexer = Lexer(data)
    return list(iter(lexer.word, None))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", []),
        (b"\n", []),
        (b" \t\r\n = ", []),
        (b"add disk1 0\n", ["add", "disk1", "0"]),
        (b"add\td0 63\n", ["add", "d0", "63"]),
        (b"add  d1 1 read_only=5\n", ["add", "d1", "1", "read_only", "5"]),
        (b"a=b a = b a==b", ["a", "b"] * 3),
        (b"=x=", ["x"]),
        (b"del_device disk1;x\n", ["del_device", "disk1;x"]),
        (b'name "two words"', ["name", '"two', 'words"']),
        (b"line\nnext", ["line", "next"]),
        (b"cut\0here", ["cut"]),
        (b"\xc3\xa4 \xff", ["ä", "\udcff"]),
        (b"no\xa0break", ["no", "break"]),
        (b"v\vf\ff", ["v", "f", "f"]),
    ],
)
def test_words(data: bytes, words: Words) -> None:
    assert words_of(data) == words


@pytest.mark.parametrize(
    ("line", "head", "parameters"),
    [
        (
            b"add_device disk2 filename=/back/disk2; blocksize=4096; nv_cache=1\n",
            "disk2",
            [("filename", "/back/disk2"), ("blocksize", "4096"), ("nv_cache", "1")],
        ),
        (
            b"add_device   spaces   filename=/back/disk1 ;  read_only=1\n",
            "spaces",
            [("filename", "/back/disk1"), ("read_only", "1")],
        ),
        (b"  add_device lead filename=/back/disk1\n", "lead", [("filename", "/back/disk1")]),
        (b"add_device\td3 removable=0x1;usn=S1;\n", "d3", [("removable", "0x1"), ("usn", "S1")]),
        (b"add_device d4 nv_cache= 1;x = 2 \n", "d4", [("nv_cache", "1"), ("x", "2")]),
        # Refused with EINVAL: value missing, too many values, a second line.
        (b"add_device noval2 nv_cache=\n", "noval2", [("nv_cache",)]),
        (b"add_device d t10_dev_id=a b \n", "d", [("t10_dev_id", "a", "b")]),
        (
            b"add_device two1 filename=/back/disk1\nadd_device two2 filename=/back/disk2\n",
            "two1",
            [
                ("filename", "/back/disk1"),
                ("add_device", "two2", "filename", "/back/disk2"),
            ],
        ),
        # An empty parameter ends the list ("File name required"), a blank one is a parameter.
        (b"add_device semi2 ;filename=/back/disk1;;\n", "semi2", []),
        (b"add_device x a=1;;b=2\n", "x", [("a", "1")]),
        (b"add_device x a=1; ;b=2\n", "x", [("a", "1"), ("",), ("b", "2")]),
        (b"add_device x a=1;\n;b=2", "x", [("a", "1")]),
        (b"add_device x  \n", "x", [("",)]),
        # The separator behind the name is always consumed.
        (b"add_device x\na=1", "x", [("a", "1")]),
        (b"add_device x=a=1", "x", [("a", "1")]),
        (b"add_device x \na=1", "x", []),
        (b"add_device x;a=1", "x;a", [("1",)]),
        (b"add_device x\n", "x", []),
        (b"add_device x", "x", []),
    ],
)
def test_parameters(line: bytes, head: str, parameters: Parameters) -> None:
    command = parse(line)
    assert command.verb == "add_device"
    assert command.arguments.word() == head
    found = command.arguments.parameters()
    assert [(parameter.name, *parameter.values) for parameter in found] == parameters


@pytest.mark.parametrize(
    ("line", "verb", "typed", "rest"),
    [
        (b"ADD_Device disk1\n", "add_device", "ADD_Device", b"disk1\n"),
        (b"  clear", "clear", "clear", b""),
        (b"clear\n", "clear", "clear", b""),
        (b"\n", "", "", b""),
        (b"", "", "", b""),
        (b"=add=x", "add", "add", b"x"),
        (b"\0add x", "", "", b""),
    ],
)
def test_verb(line: bytes, verb: str, typed: str, rest: bytes) -> None:
    command = parse(line)
    assert (command.verb, command.typed) == (verb, typed)
    assert command.arguments.rest() == rest


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"add_attribute=IncomingUser a", b"add_attribute IncomingUser a"),
        (b"\nadd_attribute\nX=1\n", b"\nadd_attribute X=1\n"),
        (b"clear\n", b"clear "),
        (b"clear", b"clear"),
        (b"", b""),
        (b"a b\0c", b"a b"),
    ],
)
def test_a_driver_gets_the_line_with_a_blank_behind_the_verb(line: bytes, text: bytes) -> None:
    assert parse(line).text == text


def refusal(error: pytest.ExceptionInfo[SysfsError]) -> tuple[int, str]:
    return error.value.errno, error.value.reason


def test_select() -> None:
    actions = {"add": 1, "del": 2}
    assert parse(b"ADD x").select(actions) == 1
    assert parse(b"del").select(actions) == 2
    with pytest.raises(SysfsError) as error:
        parse(b"Set x").select(actions)
    assert refusal(error) == (errno.EINVAL, 'Unknown action "Set"')
    with pytest.raises(SysfsError):
        parse(b"\n").select(actions)


def test_required_word_and_expect_end() -> None:
    lexer = Lexer(b" one two \n")
    assert lexer.required_word("Target name") == "one"
    with pytest.raises(SysfsError) as error:
        lexer.expect_end()
    assert refusal(error) == (errno.EINVAL, 'Syntax error on "two"')
    lexer.expect_end()
    with pytest.raises(SysfsError) as error:
        lexer.required_word("Target name")
    assert refusal(error) == (errno.EINVAL, "Target name required")


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("size", (), "Parameter size value missed"),
        ("size", ("1", "2"), "Too many parameter's size values"),
        ("", (), "Syntax error: parameter name expected"),
    ],
)
def test_a_parameter_must_have_one_value(name: str, values: tuple[str, ...], reason: str) -> None:
    with pytest.raises(SysfsError) as error:
        Parameter(name, values).value()
    assert refusal(error) == (errno.EINVAL, reason)


def test_a_parameter_is_compared_without_case() -> None:
    parameter = Parameter("FileName", ("/X",))
    assert parameter.key == "filename"
    assert parameter.value() == "/X"


COMMANDS = st.binary() | st.text("ab=; \t\n\0\xa0", max_size=40).map(
    lambda text: text.encode("latin-1")
)


def slow_words(data: bytes) -> list[bytes]:
    """Words the way of a man with a pencil: one character at a time."""
    words = [b""]
    for byte in data.split(b"\0")[0]:
        if byte in b" \t\n\v\f\r=\xa0":
            words.append(b"")
        else:
            words[-1] += bytes([byte])
    return [word for word in words if word]


@given(COMMANDS)
def test_any_bytes_are_split_and_nothing_is_lost(data: bytes) -> None:
    words = words_of(data)
    assert [word.encode("utf-8", "surrogateescape") for word in words] == slow_words(data)


@given(COMMANDS, st.integers(0, 3))
def test_any_bytes_have_parameters_without_separators(data: bytes, words: int) -> None:
    lexer = Lexer(data)
    for _ in range(words):
        lexer.word()
    left = lexer.rest()
    parameters = lexer.parameters()
    assert len(parameters) <= left.count(b";") + left.count(b"\n") + 1
    for parameter in parameters:
        for word in (parameter.name, *parameter.values):
            assert not set(word) & set(" \t\n;=\0")
    assert lexer.parameters() == []
    command = parse(data)
    assert command.verb == fold(command.typed)
