from __future__ import annotations

import pytest

from scstfs.drivers.iscsi.rows import answers
from scstfs.sysfs.errors import SysfsError


@pytest.mark.parametrize(
    ("value", "marked", "as_value", "as_lines"),
    [
        ("1", False, "1\n", "1\n\n"),
        ("1", True, "1\n[key]\n\n", "1\n[key]\n\n"),
        ("", False, "\n", "\n\n"),
        ("x" * 600, False, "x" * 511 + "\n", "x" * 511 + "\n"),
        ("x" * 508, True, "x" * 508 + "\n[k\n", "x" * 508 + "\n[k\n"),
    ],
)
def test_lines_of_the_daemon(value: str, marked: bool, as_value: str, as_lines: str) -> None:
    assert answers.daemon_value(value, marked) == as_value
    assert answers.daemon_lines(value, marked) == as_lines


@pytest.mark.parametrize(
    ("data", "value"), [(b"1\n", True), (b" 0 and more", False), (b"=1", True)]
)
def test_switches(data: bytes, value: bool) -> None:
    assert answers.daemon_switch(data) is value


@pytest.mark.parametrize("data", [b"", b"\n", b"2", b"01", b"yes"])
def test_what_is_no_switch(data: bytes) -> None:
    with pytest.raises(SysfsError):
        answers.daemon_switch(data)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("10.0.0.1", True),
        ("::1", True),
        ("fe80::1%eth0", False),
        ("10.0.0", False),
        ("010.0.0.1", False),
        ("host", False),
        ("", False),
    ],
)
def test_addresses(text: str, is_one: bool) -> None:
    assert answers.is_address(text) is is_one


def test_blanks_around_a_text() -> None:
    assert answers.stripped(b" \t a  b \n") == "a  b"
