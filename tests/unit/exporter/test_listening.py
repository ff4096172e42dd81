"""Where the exporter listens, and by which names it may be called."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from scstfs.admin.mistakes import Mistake
from scstfs.exporter.listening import Endpoint, Protection, check, is_own_name, listen, read_users


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9860", "127.0.0.1", 9860), ("[::1]:1", "::1", 1), ("localhost:0", "localhost", 0)],
)
def test_endpoints(text: str, host: str, port: int) -> None:
    assert Endpoint.parse(text) == (host, port)
    assert str(Endpoint.parse(text)) == text


@pytest.mark.parametrize("text", ["", "9860", ":9860", "a:", "a:b", "a:65536", "::1:9860", "[x]:1"])
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Endpoint.parse(text)


def test_other_machines_need_protection() -> None:
    check(Endpoint("127.0.0.1", 0), Protection(), insecure=False)
    check(Endpoint("::1", 0), Protection(), insecure=False)
    everywhere = Endpoint("0.0.0.0", 0)
    with pytest.raises(Mistake, match="other machines"):
        check(everywhere, Protection(), insecure=False)
    check(everywhere, Protection(), insecure=True)
    check(everywhere, Protection({"joe": "secret"}), insecure=False)
    check(everywhere, Protection(certificate="c", key="k"), insecure=False)
    for half in (Protection(certificate="c"), Protection(key="k")):
        with pytest.raises(Mistake, match="belong together"):
            check(everywhere, half, insecure=True)


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost", True),
        ("LOCALHOST:9860", True),
        ("127.0.0.1", True),
        ("10.1.2.3:80", True),
        ("[::1]", True),
        ("[fe80::1]:9860", True),
        ("storage.example", True),
        ("storage.example:9860", True),
        (socket.gethostname(), True),
        ("", False),
        ("evil.example", False),
        ("evil.example:9860", False),
        ("storage.example.evil.example", False),
        ("[evil.example]", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_names(host: str, is_own: bool) -> None:
    assert is_own_name(host, frozenset({"storage.example"})) is is_own


def test_users(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.touch(mode=0o600)
    file.write_text("joe:a:b\n\nann:c\n")
    assert read_users(str(file)) == {"joe": "a:b", "ann": "c"}
    for text in ("", "joe\n", ":x\n", "joe:\n", "ok:x\nbad\n"):
        file.write_text(text)
        with pytest.raises(Mistake, match=r"users|NAME:PASSWORD"):
            read_users(str(file))
    file.write_bytes(b"joe:\xff\n")
    with pytest.raises(Mistake, match="cannot read"):
        read_users(str(file))
    file.write_text("joe:a\n")
    file.chmod(0o640)
    with pytest.raises(Mistake, match="chmod 600"):
        read_users(str(file))


def test_a_port_that_is_taken() -> None:
    with listen(Endpoint("127.0.0.1", 0)) as first, pytest.raises(Mistake, match="in use"):
        listen(Endpoint("127.0.0.1", first.getsockname()[1]))
