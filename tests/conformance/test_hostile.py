"""Hostile peers: whatever they send, they lose at most their connection.

Every test ends with checks that a bystander is still served and that nothing is left of the peers.
At the end of all tests the log must have no traceback.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.conftest import Connect, LogIn
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator, LoginError
from tests.support.iscsi_login import ISID, NAME, OPERATIONAL_KEYS
from tests.support.iscsi_wire import CONTINUE, FINAL, NO_TAG, READ, WRITE, Pdu
from tests.support.live_target import LiveTarget

VICTIM = "iqn.2005-03.org.example:victim"

SETTINGS = settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

#: What a peer may make the target say: never "internal error".
pytestmark = pytest.mark.logs(
    "login of .* refused:", "connection dropped: (?!because)", "login of .* took too long"
)


@pytest.fixture(scope="module")
def victim(live: LiveTarget) -> str:
    """The target that hostile peers know."""
    live.add_target(VICTIM, luns=2)
    return VICTIM


@pytest.fixture(scope="module")
def secured(live: LiveTarget) -> str:
    """A target that requires authentication."""
    name = "iqn.2005-03.org.example:secured-victim"
    live.add_target(name, "IncomingUser joe joesecret12345")
    return name


@pytest.fixture
def bystander(live: LiveTarget, victim: str, log_in: LogIn) -> Iterator[Initiator]:
    """Another initiator's session, which continues; and nothing may be left of the others."""
    initiator = log_in()
    files = open_files()
    yield initiator
    assert initiator.ping(b"still there").data == b"still there"
    assert initiator.command("000000000000").answer.opcode == wire.SCSI_RESPONSE
    deadline = time.monotonic() + 5
    while live.names(f"targets/iscsi/{victim}/sessions") or open_files() > files:
        assert time.monotonic() < deadline, "something is left of the hostile peers"
        initiator.ping()


def open_files() -> int:
    """File descriptors of this process, which is the target's, too."""
    return len(os.listdir("/proc/self/fd"))


def login_request(more: Sequence[tuple[str, str]] = ()) -> Pdu:
    """A login that needs one request."""
    pairs = [("InitiatorName", f"{NAME}:hostile"), ("TargetName", VICTIM), *more]
    return Pdu.make(
        wire.LOGIN_REQUEST,
        data=wire.text_of([*pairs, *OPERATIONAL_KEYS]),
        immediate=True,
        flags=0x87,
        isid=ISID,
        itt=1,
        cmd_sn=1,
    )


def exchange() -> list[Pdu]:
    """A valid session from end to end; Target Transfer Tags are known to begin with 0."""
    return [
        login_request(),
        Pdu.make(wire.NOP_OUT, itt=2, ttt=NO_TAG, cmd_sn=1, flags=FINAL, data=b"ping"),
        Pdu.make(wire.SCSI_COMMAND, itt=3, cmd_sn=2, flags=FINAL | 1),
        Pdu.make(
            wire.SCSI_COMMAND,
            itt=4,
            cmd_sn=3,
            flags=FINAL | READ | 1,
            expected_length=65536,
            cdb=bytes.fromhex("28000000000000008000"),
        ),
        Pdu.make(
            wire.SCSI_COMMAND,
            itt=5,
            cmd_sn=4,
            flags=WRITE | 1,
            expected_length=2048,
            data=b"a" * 512,
            cdb=bytes.fromhex("2a000000000000000400"),
        ),
        Pdu.make(
            wire.DATA_OUT, itt=5, ttt=NO_TAG, flags=FINAL, data=b"b" * 1536, buffer_offset=512
        ),
        Pdu.make(
            wire.SCSI_COMMAND,
            itt=6,
            cmd_sn=5,
            flags=FINAL | WRITE | 1,
            expected_length=1024,
            cdb=bytes.fromhex("2a000000000000000200"),
        ),
        Pdu.make(wire.DATA_OUT, itt=6, ttt=0, flags=0, data=b"c" * 512),
        Pdu.make(
            wire.DATA_OUT, itt=6, ttt=0, flags=FINAL, data=b"d" * 512, data_sn=1, buffer_offset=512
        ),
        Pdu.make(
            wire.TASK_REQUEST,
            itt=7,
            cmd_sn=6,
            flags=FINAL | 2,
            referenced_tag=NO_TAG,
            immediate=True,
        ),
        Pdu.make(
            wire.TEXT_REQUEST,
            itt=8,
            ttt=NO_TAG,
            cmd_sn=6,
            flags=FINAL,
            data=wire.text_of([("SendTargets", "")]),
        ),
        Pdu.make(wire.SNACK, itt=4, ttt=NO_TAG, flags=FINAL),
        Pdu.make(wire.LOGOUT_REQUEST, itt=9, cmd_sn=7, flags=FINAL),
    ]


def discovery() -> list[Pdu]:
    """A discovery session from end to end."""
    login = login_request()
    login.data = wire.text_of([("InitiatorName", f"{NAME}:hostile"), ("SessionType", "Discovery")])
    login["data_length"] = len(login.data)
    text = Pdu.make(
        wire.TEXT_REQUEST,
        itt=2,
        ttt=NO_TAG,
        cmd_sn=1,
        flags=FINAL,
        data=wire.text_of([("SendTargets", "All")]),
    )
    return [login, text, Pdu.make(wire.LOGOUT_REQUEST, itt=3, cmd_sn=2, flags=FINAL)]


def login_without_the_secret(target: str) -> list[Pdu]:
    """All steps of an authentication, and of what would come after it."""
    texts = [
        [("InitiatorName", f"{NAME}:hostile"), ("TargetName", target), ("AuthMethod", "CHAP,None")],
        [("CHAP_A", "5")],
        [("CHAP_N", "joe"), ("CHAP_R", "0x" + "00" * 16)],
        OPERATIONAL_KEYS,
    ]
    steps = zip(texts, (0x81, 0x81, 0x81, 0x87), strict=True)
    return [
        *(
            Pdu.make(
                wire.LOGIN_REQUEST,
                data=wire.text_of(text),
                immediate=True,
                flags=flags,
                isid=ISID,
                itt=1,
                cmd_sn=1,
            )
            for text, flags in steps
        ),
        Pdu.make(wire.SCSI_COMMAND, itt=2, cmd_sn=1, flags=FINAL | 1),
    ]


def headers(received: bytes) -> list[bytes]:
    """The headers of PDUs that came one after the other, without digests."""
    found = []
    while received:
        length = int.from_bytes(received[5:8], "big")
        found.append(received[:48])
        received = received[48 + (length + 3 & ~3) :]
    return found


def send(live: LiveTarget, data: bytes) -> bytes:
    """Send bytes and nothing more; what comes back until the target closes."""
    return send_in_turn(live, (data, 0))


def send_in_turn(live: LiveTarget, *parts: tuple[bytes, int]) -> bytes:
    """Send each of *parts* when so many tasks as it says have been answered."""
    with live.connect() as sock:
        received = bytearray()
        *first, (data, answered) = parts
        for part, count in first:
            receive_answers(sock, received, count)
            sock.sendall(part)
        receive_answers(sock, received, answered)
        # The target may have closed before everything was sent.
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while part := sock.recv(1 << 16):
                received += part
        return bytes(received)


def receive_answers(sock: socket.socket, received: bytearray, count: int) -> None:
    """Receive until *count* SCSI commands have a status."""
    while True:
        whole = [header for header in headers(bytes(received)) if len(header) == 48]
        if sum(map(is_answer, whole)) >= count:
            return
        received += sock.recv(1 << 16)


def is_answer(header: bytes) -> bool:
    """The PDU brings the status of a command."""
    brings_status = header[0] == wire.DATA_IN and header[1] & 0x01
    return header[0] == wire.SCSI_RESPONSE or bool(brings_status)


#: Commands of ``exchange``.
COMMANDS = 4


def in_turn(more: bytes = b"") -> tuple[tuple[bytes, int], ...]:
    """``exchange`` for ``send_in_turn``, and *more* with the last part of it.

    Task management and a logout end the commands that are under way (RFC 7143 11.5, 11.14).
    """
    pdus = exchange()
    behind = next(n for n, pdu in enumerate(pdus) if pdu.opcode == wire.TASK_REQUEST)
    commands, rest = (b"".join(pdu.raw for pdu in part) for part in (pdus[:behind], pdus[behind:]))
    return (commands, 0), (rest + more, COMMANDS)


def test_the_exchange_is_valid(live: LiveTarget, bystander: Initiator) -> None:
    """Mutations of nonsense would show little.

    What comes behind the commands is sent when they have ended: it would put an end to them.
    """
    received = send_in_turn(live, *in_turn())
    opcodes = [header[0] for header in headers(received)]
    assert opcodes[0] == wire.LOGIN_RESPONSE
    assert opcodes[-1] == wire.LOGOUT_RESPONSE
    assert opcodes.count(wire.REJECT) == 1  # SNACK
    assert opcodes.count(wire.SCSI_RESPONSE) == 3
    assert {wire.NOP_IN, wire.TEXT_RESPONSE, wire.TASK_RESPONSE, wire.R2T} < set(opcodes)
    received = send(live, b"".join(pdu.raw for pdu in discovery()))
    opcodes = [header[0] for header in headers(received)]
    assert opcodes == [wire.LOGIN_RESPONSE, wire.TEXT_RESPONSE, wire.LOGOUT_RESPONSE]


# Mutations of a valid exchange


@st.composite
def mutations(draw: st.DrawFn, pdus: list[Pdu]) -> bytes:
    """The bytes of some PDUs, of which some were changed, doubled, exchanged or left out."""
    # With the login as it is most often: a changed one seldom gets anywhere.
    intact = draw(st.sampled_from([0, 1]))
    first = b"".join(pdu.raw for pdu in pdus[:intact])
    pieces = [bytearray(pdu.raw) for pdu in pdus[intact:]]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(pieces) - 1))
        piece = pieces[at]
        kind = draw(st.sampled_from(["byte", "field", "cut", "insert", "double", "swap", "drop"]))
        if kind == "byte" and piece:
            piece[draw(st.integers(0, len(piece) - 1))] = draw(st.integers(0, 255))
        elif kind == "field":
            offset = draw(st.integers(0, 44))
            extremes = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]
            piece[offset : offset + 4] = draw(st.sampled_from(extremes)).to_bytes(4, "big")
        elif kind == "cut":
            del piece[draw(st.integers(0, len(piece))) :]
        elif kind == "insert":
            where = draw(st.integers(0, len(piece)))
            piece[where:where] = draw(st.binary(min_size=1, max_size=64))
        elif kind == "double":
            pieces.insert(at, bytearray(piece))
        elif kind == "swap":
            other = draw(st.integers(0, len(pieces) - 1))
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif len(pieces) > 1:
            del pieces[at]
    return first + b"".join(pieces)


@pytest.mark.slow
def test_any_mutation_of_a_valid_exchange(live: LiveTarget, bystander: Initiator) -> None:
    @SETTINGS
    @given(mutations(exchange()))
    def check(data: bytes) -> None:
        send(live, data)
        assert bystander.ping(b"x").data == b"x"

    check()


@pytest.mark.slow
def test_any_mutation_of_a_discovery(live: LiveTarget, bystander: Initiator) -> None:
    @SETTINGS
    @given(mutations(discovery()))
    def check(data: bytes) -> None:
        send(live, data)
        assert bystander.ping(b"x").data == b"x"

    check()


@pytest.mark.slow
def test_no_mutation_of_a_login_gets_in_without_the_secret(
    live: LiveTarget, secured: str, bystander: Initiator
) -> None:
    @SETTINGS
    @given(mutations(login_without_the_secret(secured)))
    def check(data: bytes) -> None:
        for header in headers(send(live, data)):
            assert header[0] in (wire.LOGIN_RESPONSE, wire.REJECT)
            # Never full feature phase.
            assert header[0] == wire.REJECT or header[1] & 0x83 != 0x83

    # As it is, it fails by the response alone.
    *before, last = headers(
        send(live, b"".join(pdu.raw for pdu in login_without_the_secret(secured)))
    )
    assert [header[36:38] for header in before] == [bytes(2)] * 2
    assert last[36:38] == b"\x02\x01"
    check()
    assert live.names(f"targets/iscsi/{secured}/sessions") == []


@pytest.mark.slow
@pytest.mark.parametrize("which", range(len(exchange())), ids=lambda n: f"{n:02}")
def test_header_fields_of_any_value(live: LiveTarget, bystander: Initiator, which: int) -> None:
    names = sorted(exchange()[which].layout)
    for name in names:
        for value in (0, 1 << 31, (1 << 64) - 1, 0x5A5A5A5A5A5A5A5A):
            pdus = exchange()
            pdus[which][name] = value
            send(live, b"".join(pdu.raw for pdu in pdus))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 64, 16))
def test_every_opcode_with_every_flag_set(
    live: LiveTarget, bystander: Initiator, first: int
) -> None:
    logout = exchange()[-1].raw
    for opcode in range(first, first + 16):
        header = bytearray(Pdu.make(opcode, itt=2).header)
        header[1] = 0xFF
        header[27] = 1  # the CmdSN that is due
        for immediate in (0, 0x40, 0xC0):
            header[0] = opcode | immediate
            send(live, login_request().raw + bytes(header) + logout)


# Lengths that lie


@pytest.mark.parametrize("length", [1, 512, 8192, 0xFFFFFF])
@pytest.mark.parametrize("which", [0, 1, 4, 5, 10])
def test_more_data_announced_than_there_is(
    live: LiveTarget, bystander: Initiator, which: int, length: int
) -> None:
    pdus = exchange()[: which + 1]
    pdus[which]["data_length"] = len(pdus[which].data) + length & 0xFFFFFF
    send(live, b"".join(pdu.raw for pdu in pdus))


@pytest.mark.parametrize("which", [0, 1, 4, 5, 10])
def test_less_data_announced_than_there_is(
    live: LiveTarget, bystander: Initiator, which: int
) -> None:
    """What is left is taken for a header, which it is not."""
    for length in (0, 1, 3):
        pdus = exchange()
        pdus[which]["data_length"] = length
        send(live, b"".join(pdu.raw for pdu in pdus))


@pytest.mark.parametrize("words", [1, 4, 255])
def test_additional_headers_that_are_not_there(
    live: LiveTarget, bystander: Initiator, words: int
) -> None:
    for which in range(len(exchange())):
        pdus = exchange()
        pdus[which]["ahs_length"] = words
        send(live, b"".join(pdu.raw for pdu in pdus))


def test_the_longest_data_segment_costs_no_memory_before_it_is_there(
    live: LiveTarget, bystander: Initiator
) -> None:
    """It is refused by its header: the target does not wait for 16 MiB."""
    with live.connect() as sock:
        sock.sendall(login_request().raw + bytes.fromhex("45800000 00ffffff") + bytes(40))
        received = bytearray()
        with contextlib.suppress(ConnectionError):
            while part := sock.recv(65536):
                received += part
        assert received[0] == wire.LOGIN_RESPONSE


# Text


@pytest.mark.parametrize(
    "text",
    [
        b"\0" * 8192,
        b"=" * 8192,
        b"A" * 8192,
        b"A=" + b"\xff" * 8190,
        b"InitiatorName=\xc3\x28\0TargetName=x\0",
        b"InitiatorName=" + b"n" * 4000 + b"\0",
        b"a=\0" * 2730,
        b"HeaderDigest=" + b"," * 4000 + b"\0",
        b"MaxBurstLength=" + b"9" * 4000 + b"\0",
        b"MaxBurstLength=0x" + b"f" * 4000 + b"\0",
        b"\xff\xfe" * 4096,
    ],
)
@pytest.mark.parametrize("named", [False, True], ids=["alone", "with names"])
def test_text_of_any_kind(live: LiveTarget, bystander: Initiator, text: bytes, named: bool) -> None:
    names = wire.text_of([("InitiatorName", f"{NAME}:hostile"), ("TargetName", VICTIM)])
    data = (names + text)[:8192] if named else text
    request = Pdu.make(wire.LOGIN_REQUEST, data=data, immediate=True, flags=0x87, itt=1)
    answer = send(live, request.raw)
    assert answer[:1] in (b"", bytes([wire.LOGIN_RESPONSE]))


def test_keys_without_end(live: LiveTarget, bystander: Initiator) -> None:
    """Endless text is ended, during login and after it."""
    piece = b"".join(b"X-%d=1\0" % number for number in range(700))[:8190]
    login = Pdu.make(
        wire.LOGIN_REQUEST, data=piece, immediate=True, flags=4 | CONTINUE, itt=1, isid=ISID
    )
    answer = send(live, login.raw * 100)
    # Some are taken, then the login is refused.
    assert struct.unpack_from(">H", answer[-48:], 36)[0] == 0x0200
    text = Pdu.make(
        wire.TEXT_REQUEST, data=piece, immediate=True, flags=CONTINUE, itt=2, ttt=NO_TAG, cmd_sn=1
    )
    going_on = Pdu.make(
        wire.TEXT_REQUEST, data=piece, immediate=True, flags=CONTINUE, itt=2, ttt=0, cmd_sn=1
    )
    send(live, login_request().raw + text.raw + going_on.raw * 100 + exchange()[-1].raw)


def test_more_different_keys_than_there_are(connect: Connect, bystander: Initiator) -> None:
    initiator = connect()
    text = [*initiator.names(VICTIM), *((f"X-{number}", "1") for number in range(400))]
    with pytest.raises(LoginError) as caught:
        initiator.login_step(text)
    assert caught.value.status == 0x0200
    initiator.close()


# Resets


@pytest.mark.slow
def test_a_reset_at_each_byte_of_a_login(live: LiveTarget, bystander: Initiator) -> None:
    data = login_request().raw
    reset = struct.pack("ii", 1, 0)
    for length in range(len(data) + 1):
        with live.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            sock.sendall(data[:length])


@pytest.mark.slow
def test_a_reset_at_many_bytes_of_a_session(live: LiveTarget, bystander: Initiator) -> None:
    data = b"".join(pdu.raw for pdu in exchange())
    start = len(login_request().raw)
    reset = struct.pack("ii", 1, 0)
    for length in range(start, len(data), 41):
        with live.connect() as sock:
            sock.sendall(data[:length])
            # The login succeeded, so there is a session to end.
            assert sock.recv(1) == bytes([wire.LOGIN_RESPONSE])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)


# Replays


def test_a_session_is_not_resumed_after_its_logout(
    live: LiveTarget, connect: Connect, bystander: Initiator
) -> None:
    initiator = connect()
    initiator.login(VICTIM)
    assert initiator.logout() == 0
    assert initiator.wait_closed() == []
    initiator.close()
    # What was sent after the login, without one.
    assert send(live, b"".join(pdu.raw for pdu in exchange()[1:])) == b""
    again = connect(name=initiator.name, isid=initiator.isid)
    again.tsih = initiator.tsih
    with pytest.raises(LoginError) as caught:
        again.login(VICTIM)
    assert caught.value.status == 0x020A
    again.close()


def test_a_replay_behind_the_logout_is_not_looked_at(
    live: LiveTarget, bystander: Initiator
) -> None:
    once = send_in_turn(live, *in_turn())
    twice = send_in_turn(live, *in_turn(b"".join(pdu.raw for pdu in exchange())))
    assert len(twice) == len(once)


def test_a_logout_is_answered_when_nothing_can_have_an_effect_any_more(
    live: LiveTarget, bystander: Initiator
) -> None:
    """What has been written by then has been written, and the rest never is."""
    whole = b"".join(pdu.raw for pdu in exchange())
    for _ in range(20):
        received = headers(send(live, whole))
        assert received[-1][0] == wire.LOGOUT_RESPONSE
        answered = [header[16:20] for header in received if is_answer(header)]
        assert len(answered) == len(set(answered)) <= COMMANDS


def test_a_replay_on_a_new_connection_is_a_session_of_its_own(
    live: LiveTarget, bystander: Initiator
) -> None:
    whole = b"".join(pdu.raw for pdu in exchange())
    tsihs = {send(live, whole)[14:16] for _ in range(3)}
    assert len(tsihs) == 3


def test_commands_sent_again_are_not_executed_again(live: LiveTarget, bystander: Initiator) -> None:
    pdus = exchange()
    doubled = [pdu for pdu in pdus[:-1] for _ in range(1 if pdu is pdus[0] else 2)]
    received = send(live, b"".join(pdu.raw for pdu in [*doubled, pdus[-1]]))
    assert received[-48] == wire.LOGOUT_RESPONSE


# Login by trickle, and many of them


def test_a_login_byte_by_byte(live: LiveTarget, bystander: Initiator) -> None:
    with live.connect() as sock:
        for byte in login_request().raw:
            sock.sendall(bytes([byte]))
        assert sock.recv(48)[:1] == bytes([wire.LOGIN_RESPONSE])


def test_many_logins_at_a_time_that_go_nowhere(live: LiveTarget, bystander: Initiator) -> None:
    half = login_request().raw[:100]
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(live.connect()).sendall(half)
        assert bystander.ping(b"y").data == b"y"
