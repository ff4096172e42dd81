"""The login machine: any PDUs, in any order, with any text."""

from __future__ import annotations

from typing import Final

from fuzz.source import Source
from scstfs.iscsi.admission import ExistingSession, Redirect
from scstfs.iscsi.chap import Credentials, User
from scstfs.iscsi.codes import LoginStatus
from scstfs.iscsi.errors import LoginRefused
from scstfs.iscsi.login import Login
from scstfs.iscsi.negotiate import SessionParameters
from tests.support import iscsi_wire as wire
from tests.support.iscsi_wire import Pdu
from tests.support.login_fakes import DISK, FakeHost, FakeTarget, not_random

_INCOMING: Final = {"user": b"secretsecret"}
_PAIRS: Final = (
    "InitiatorName=iqn.2005-03.org.example:a",
    "InitiatorName=bad name",
    f"TargetName={DISK}",
    "TargetName=iqn.other",
    "SessionType=Normal",
    "SessionType=Discovery",
    "SessionType=Other",
    "AuthMethod=None",
    "AuthMethod=CHAP,None",
    "AuthMethod=KRB5",
    "CHAP_A=5",
    "CHAP_A=9,5,8",
    "CHAP_N=user",
    "CHAP_R=0x00112233445566778899aabbccddeeff",
    "CHAP_I=1",
    "CHAP_C=0x0102030405060708",
    "HeaderDigest=CRC32C,None",
    "MaxRecvDataSegmentLength=512",
    "MaxBurstLength=16777216",
    "InitialR2T=Yes",
    "iSCSIProtocolLevel=2",
    "X-com.example=1",
)
_STEPS: Final = 64


def run(data: bytes) -> None:
    """Log in according to ``data``."""
    source = Source(data)
    host = _host(source)
    now = 0.0
    login: Login[FakeTarget] = Login(host, random=not_random, now=now)
    over = False
    for _ in range(_STEPS):
        if not source.more:
            break
        pdu = _request(source)
        now += source.choose((0.0, 0.0, 0.0, 1.0, 40.0))
        step = login.receive(bytes(pdu.header), pdu.data, now)
        if step.send:
            _check_response(step.send)
        if over:
            assert step.close, "a login continues after its end"
        assert not (step.result is not None and step.close)
        if step.result is not None:
            assert len(host.opened) == 1
            assert step.result.tsih
            over = True
        over = over or step.close
    assert len(host.opened) <= 1, "a login opened two sessions"


def _host(source: Source) -> FakeHost:
    credentials = Credentials(
        _INCOMING if source.flag() else {},
        User("target", b"targetsecret") if source.flag() else None,
    )
    host = FakeHost(target=FakeTarget(credentials=credentials, enabled=source.byte() < 250))
    if source.flag():
        host.discovery_credentials = credentials
    host.is_internal = source.byte() > 200
    if source.byte() > 240:
        host.refused = "no"
    if source.byte() > 240:
        host.redirected = Redirect("10.0.0.1", 3260, permanent=True)
    if source.byte() > 128:
        host.existing = ExistingSession(1, 0, 5, SessionParameters())
    host.room = source.byte() < 240
    if source.byte() > 240:
        host.cannot_open = LoginRefused(LoginStatus.OUT_OF_RESOURCES, "no")
    return host


def _request(source: Source) -> Pdu:
    if source.byte() > 240:
        return Pdu(source.take(48).ljust(48, b"\0"), source.take(source.byte()))
    pairs = "".join(f"{source.choose(_PAIRS)}\0" for _ in range(source.byte() % 8)).encode()
    data = source.take(source.byte()) if source.byte() > 200 else pairs
    flags = source.choose((0x87, 0x81, 0x04, 0x00, 0x83, 0x40, 0x44, source.byte()))
    return Pdu.make(
        wire.LOGIN_REQUEST,
        data=data,
        immediate=source.byte() < 250,
        flags=flags,
        version_min=source.odd(0, 8),
        isid=b"\x80\0\0\0\0" + bytes([source.byte() % 2]),
        tsih=source.choose((0, 0, 0, 1, 2)),
        itt=source.odd(1),
        cid=source.choose((0, 0, 0, 1)),
        cmd_sn=source.odd(1),
    )


def _check_response(raw: bytes) -> None:
    pdu = Pdu(raw[:48], raw[48 : 48 + int.from_bytes(raw[5:8], "big")])
    assert len(raw) == 48 + (len(pdu.data) + 3 & ~3)
    if pdu.opcode == wire.REJECT:
        return
    assert pdu.opcode == wire.LOGIN_RESPONSE
    assert len(pdu.data) <= 8192
    assert not (pdu.flags & 0x80 and pdu.flags & 0x40), "T and C at once"
