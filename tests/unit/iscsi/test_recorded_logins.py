"""Logins of real initiators, recorded on the wire: libiscsi 1.19 and qemu 7.2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scstfs.iscsi.chap import Credentials, User
from scstfs.iscsi.login import Login
from tests.support import iscsi_wire as wire
from tests.support.iscsi_wire import Pdu, parse_pairs
from tests.support.login_fakes import FakeHost, FakeTarget

RECORDED: dict[str, list[dict[str, str]]] = json.loads(
    (Path(__file__).parents[2] / "data" / "iscsi" / "logins.json").read_text()
)
OPEN = "iqn.2001-04.com.example:open"
PROTECTED = "iqn.2001-04.com.example:chap"
USERS = Credentials({"joe": b"joesecret1234"}, User("tgtuser", b"tgtsecret1234"))


def pdus(name: str, sender: str) -> list[Pdu]:
    found = []
    for entry in RECORDED[name]:
        raw = bytes.fromhex(entry["pdu"])
        length = int.from_bytes(raw[5:8], "big")
        pdu = Pdu(raw[:48], raw[48 : 48 + length])
        if entry["from"] == sender and pdu.opcode in (wire.LOGIN_REQUEST, wire.LOGIN_RESPONSE):
            found.append(pdu)
    return found


class Replay:
    """A recorded initiator logs in to us; our random numbers are those it was given then."""

    def __init__(self, name: str, host: FakeHost) -> None:
        self.theirs = pdus(name, "target")
        self.host = host
        self.login = Login(host, random=self.random, now=0.0)
        self.steps = [
            self.login.receive(bytes(pdu.header), pdu.data, 0.0) for pdu in pdus(name, "initiator")
        ]
        self.ours = [Pdu(step.send[:48], step.send[48:]) for step in self.steps]

    def random(self, length: int) -> bytes:
        recorded = dict(pair for pdu in self.theirs for pair in parse_pairs(pdu.data))
        if length == 1:
            return bytes([int(recorded["CHAP_I"])])
        return bytes.fromhex(recorded["CHAP_C"][2:])

    def text(self, step: int) -> list[tuple[str, str]]:
        pdu = self.ours[step]
        return parse_pairs(pdu.data[: pdu["data_length"]])


@pytest.mark.parametrize(
    ("name", "initiator"),
    [
        ("iscsi-inq", "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-inq"),
        ("qemu-img", "iqn.2008-11.org.linux-kvm"),
    ],
)
def test_plain_login(name: str, initiator: str) -> None:
    replay = Replay(name, FakeHost(FakeTarget(OPEN)))
    (step,) = replay.steps
    assert step.result is not None
    assert step.result.initiator == initiator
    assert step.result.parameters.max_burst_length == 262144
    assert step.result.parameters.max_xmit_data_segment_length == 262144
    assert not step.result.parameters.initial_r2t
    # tgt's answers to the same offers, except for its own settings
    theirs = dict(parse_pairs(replay.theirs[0].data))
    differing = {
        "InitialR2T": "No",
        "MaxRecvDataSegmentLength": "1048576",
    }
    assert dict(replay.text(0)) == theirs | differing
    response = replay.ours[0]
    assert response.flags == replay.theirs[0].flags
    for field in ("itt", "stat_sn", "exp_cmd_sn", "max_cmd_sn", "status"):
        assert response[field] == replay.theirs[0][field]


def test_discovery_login() -> None:
    replay = Replay("iscsi-ls_discovery", FakeHost())
    (step,) = replay.steps
    assert step.result is not None
    assert step.result.target is None


def test_required_digest_is_refused_as_a_key_not_as_a_login() -> None:
    replay = Replay("qemu-img_header_digest", FakeHost(FakeTarget(OPEN)))
    assert ("HeaderDigest", "Reject") in replay.text(0)
    assert replay.steps[0].result is not None


def test_required_digest() -> None:
    target = FakeTarget(OPEN, parameters={"HeaderDigest": 3})
    replay = Replay("qemu-img_header_digest", FakeHost(target))
    assert ("HeaderDigest", "CRC32C") in replay.text(0)


def test_chap() -> None:
    replay = Replay("iscsi-inq_chap", FakeHost(FakeTarget(PROTECTED, credentials=USERS)))
    assert [step.close for step in replay.steps] == [False] * 4
    result = replay.steps[-1].result
    assert result is not None
    assert result.user == "joe"
    # the same flags as tgt, step by step
    assert [pdu.flags for pdu in replay.ours] == [pdu.flags for pdu in replay.theirs]
    assert [pdu["stat_sn"] for pdu in replay.ours] == [0, 1, 2, 3]


def test_mutual_chap() -> None:
    replay = Replay("iscsi-inq_mutual_chap", FakeHost(FakeTarget(PROTECTED, credentials=USERS)))
    assert replay.steps[-1].result is not None
    assert replay.text(2) == parse_pairs(replay.theirs[2].data)  # CHAP_N and CHAP_R to the digit


def test_wrong_secret() -> None:
    replay = Replay("iscsi-inq_wrong_secret", FakeHost(FakeTarget(PROTECTED, credentials=USERS)))
    assert replay.ours[-1]["status"] == replay.theirs[-1]["status"] == 0x0201


def test_unknown_target() -> None:
    replay = Replay("iscsi-inq_unknown_target", FakeHost(FakeTarget(OPEN)))
    assert replay.ours[-1]["status"] == replay.theirs[-1]["status"] == 0x0203
    assert replay.ours[-1].flags == replay.theirs[-1].flags


# The texts of initiators that were not at hand, as they send them with their usual settings.
OPEN_ISCSI = [
    [
        ("InitiatorName", "iqn.1993-08.org.debian:01:1234567890ab"),
        ("InitiatorAlias", "host"),
        ("TargetName", OPEN),
        ("SessionType", "Normal"),
        ("AuthMethod", "None"),
    ],
    [
        ("HeaderDigest", "None"),
        ("DataDigest", "None"),
        ("DefaultTime2Wait", "2"),
        ("DefaultTime2Retain", "0"),
        ("IFMarker", "No"),
        ("OFMarker", "No"),
        ("ErrorRecoveryLevel", "0"),
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("MaxBurstLength", "16776192"),
        ("FirstBurstLength", "262144"),
        ("MaxOutstandingR2T", "1"),
        ("MaxConnections", "1"),
        ("DataPDUInOrder", "Yes"),
        ("DataSequenceInOrder", "Yes"),
        ("MaxRecvDataSegmentLength", "262144"),
    ],
]
WINDOWS = [
    [
        ("InitiatorName", "iqn.1991-05.com.microsoft:host"),
        ("SessionType", "Normal"),
        ("TargetName", OPEN),
        ("AuthMethod", "None"),
    ],
    [
        ("HeaderDigest", "None,CRC32C"),
        ("DataDigest", "None,CRC32C"),
        ("ErrorRecoveryLevel", "2"),
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("MaxRecvDataSegmentLength", "65536"),
        ("MaxBurstLength", "262144"),
        ("FirstBurstLength", "65536"),
        ("MaxConnections", "1"),
        ("DataPDUInOrder", "Yes"),
        ("DataSequenceInOrder", "Yes"),
        ("DefaultTime2Wait", "0"),
        ("DefaultTime2Retain", "60"),
        ("MaxOutstandingR2T", "16"),
    ],
]


@pytest.mark.parametrize("texts", [OPEN_ISCSI, WINDOWS], ids=["open-iscsi", "windows"])
def test_two_stages(texts: list[list[tuple[str, str]]]) -> None:
    login = Login(FakeHost(FakeTarget(OPEN)), random=bytes, now=0.0)
    for flags, text in zip((0x81, 0x87), texts, strict=True):
        data = wire.text_of(text)
        pdu = Pdu.make(wire.LOGIN_REQUEST, data=data, immediate=True, flags=flags, itt=1)
        step = login.receive(bytes(pdu.header), data, 0.0)
        assert step.send[1] == flags
    assert step.result is not None
    answers = parse_pairs(step.send[48 : 48 + int.from_bytes(step.send[5:8], "big")])
    assert {value for _, value in answers}.isdisjoint({"Reject", "NotUnderstood", "Irrelevant"})
    offered = [name for name, _ in texts[1] if name != "MaxRecvDataSegmentLength"]
    assert [name for name, _ in answers] == [*offered, "MaxRecvDataSegmentLength"]
