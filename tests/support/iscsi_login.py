"""The login half of the test initiator: any text, cut anywhere, with any header fields."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tests.support import iscsi_wire as wire
from tests.support.iscsi_socket import ClosedError, Stream, Wire
from tests.support.iscsi_wire import CONTINUE, NO_TAG, Pdu

Pairs: TypeAlias = list[tuple[str, str]]

NAME: Final = "iqn.2005-03.org.example:naive"
ISID: Final = bytes.fromhex("800000000001")
SECURITY, OPERATIONAL, FULL_FEATURE = 0, 1, 3

OPERATIONAL_KEYS: Final[Pairs] = [
    ("HeaderDigest", "None"),
    ("DataDigest", "None"),
    ("MaxRecvDataSegmentLength", "262144"),
    ("InitialR2T", "No"),
    ("ImmediateData", "Yes"),
    ("MaxBurstLength", "262144"),
    ("FirstBurstLength", "65536"),
    ("MaxOutstandingR2T", "1"),
    ("MaxConnections", "1"),
    ("DefaultTime2Wait", "2"),
    ("DefaultTime2Retain", "0"),
    ("DataPDUInOrder", "Yes"),
    ("DataSequenceInOrder", "Yes"),
    ("ErrorRecoveryLevel", "0"),
]
_DEFAULTS: Final = {
    "InitialR2T": "Yes",
    "ImmediateData": "Yes",
    "MaxRecvDataSegmentLength": "8192",
    "MaxBurstLength": "262144",
    "FirstBurstLength": "65536",
    "MaxOutstandingR2T": "1",
}
_CHAP_HASHES: Final = {"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}
_TAKE_STAT_SN: Final = frozenset(
    {
        wire.SCSI_RESPONSE,
        wire.TASK_RESPONSE,
        wire.LOGIN_RESPONSE,
        wire.TEXT_RESPONSE,
        wire.LOGOUT_RESPONSE,
        wire.ASYNC,
        wire.REJECT,
    }
)


class LoginError(Exception):
    """The target refused the login."""

    def __init__(self, response: Pdu) -> None:
        super().__init__(f"login refused: {response['status']:04x} {response.pairs}")
        self.status = response["status"]
        self.response = response


@dataclass
class Chap:
    """How to authenticate; with `target_secret` the target must authenticate, too."""

    user: str
    secret: bytes
    algorithms: str = "5"
    target_secret: bytes | None = None
    challenge: bytes = bytes(range(16))
    use_base64: bool = False
    together: bool = False
    """Send CHAP_A along with AuthMethod."""

    def encode(self, data: bytes) -> str:
        if self.use_base64:
            return "0b" + base64.b64encode(data).decode()
        return "0x" + data.hex()


def decode_binary(value: str) -> bytes:
    digits = value[2:]
    return base64.b64decode(digits) if value[1] in "bB" else bytes.fromhex(digits)


def chap_hash(algorithm: str, identifier: int, secret: bytes, challenge: bytes) -> bytes:
    data = bytes([identifier]) + secret + challenge
    return hashlib.new(_CHAP_HASHES[algorithm], data).digest()


class LoginClient(Wire):
    """A connection up to the end of login.

    Public attributes are the state for the next PDU; tests change them freely.
    """

    def __init__(
        self,
        sock: Stream,
        *,
        name: str = NAME,
        isid: bytes = ISID,
        timeout: float = 5.0,
    ) -> None:
        super().__init__(sock, timeout)
        self.name = name
        self.isid = isid
        self.tsih = 0
        self.cid = 0
        self.cmd_sn = 1
        self.exp_stat_sn = 0
        self.exp_cmd_sn = 1
        self.max_cmd_sn = 1
        self.login_itt = 0x11223344
        self.offers: dict[str, str] = {}
        """The operational keys we sent."""
        self.keys: dict[str, str] = {}
        """The target's answers and declarations during login."""
        self._stat_sn_known = False

    def parameter(self, key: str) -> str:
        """Return the negotiated value of a key, or its default."""
        value = self.keys.get(key, _DEFAULTS.get(key, ""))
        return _DEFAULTS.get(key, "") if value in ("Reject", "Irrelevant") else value

    def note_numbers(self, pdu: Pdu) -> None:
        takes = pdu.opcode in _TAKE_STAT_SN
        takes |= pdu.opcode == wire.NOP_IN and pdu["itt"] != NO_TAG
        takes |= pdu.opcode == wire.DATA_IN and bool(pdu.flags & 1)
        if pdu.opcode != wire.DATA_IN or takes:
            if self._stat_sn_known and pdu["stat_sn"] != self.exp_stat_sn:
                self.complaints.append(f"StatSN is not {self.exp_stat_sn:x}: {pdu}")
            self._stat_sn_known = True
            self.exp_stat_sn = pdu["stat_sn"] + (1 if takes else 0) & 0xFFFFFFFF
        if (pdu["max_cmd_sn"] - pdu["exp_cmd_sn"] + 1) & 0xFFFFFFFF > 0x7FFFFFFF:
            self.complaints.append(f"MaxCmdSN is before ExpCmdSN - 1: {pdu}")
            return
        for name in ("exp_cmd_sn", "max_cmd_sn"):
            ahead = (pdu[name] - getattr(self, name)) & 0xFFFFFFFF
            if ahead < 0x80000000 or pdu.opcode == wire.LOGIN_RESPONSE:
                setattr(self, name, pdu[name])
            else:
                self.complaints.append(f"{name} goes back: {pdu}")

    def login_pdu(
        self,
        text: Pairs | bytes = b"",
        *,
        csg: int = OPERATIONAL,
        nsg: int = FULL_FEATURE,
        transit: bool = False,
        more: bool = False,
        **fields: Any,
    ) -> Pdu:
        """Build a Login Request; `fields` override anything."""
        flags = csg << 2 | (0x80 | nsg if transit else 0) | (CONTINUE if more else 0)
        values: dict[str, int | bytes] = {
            "flags": flags,
            "isid": self.isid,
            "tsih": self.tsih,
            "itt": self.login_itt,
            "cid": self.cid,
            "cmd_sn": self.cmd_sn,
            "exp_stat_sn": self.exp_stat_sn,
            **fields,
        }
        data = text if isinstance(text, bytes) else wire.text_of(text)
        pdu = Pdu.make(wire.LOGIN_REQUEST, data=data, immediate=True)
        for name, value in values.items():
            pdu[name] = value
        return pdu

    def login_step(
        self,
        text: Pairs | bytes = b"",
        *,
        csg: int = OPERATIONAL,
        nsg: int = FULL_FEATURE,
        transit: bool = False,
        cut: int | None = None,
        **fields: Any,
    ) -> tuple[Pdu, Pairs]:
        """Exchange one text; with `cut`, in PDUs of that many bytes.

        Returns the last response and the pairs of all.

        Raises:
            LoginError: a status other than success.
        """
        data = text if isinstance(text, bytes) else wire.text_of(text)
        size = cut or max(len(data), 1)
        pieces = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
        for piece in pieces[:-1]:
            response = self._login_exchange(
                self.login_pdu(piece, csg=csg, nsg=nsg, more=True, **fields)
            )
            if response.data or response.flags & 0xC0:
                self.complaints.append("an unfinished text is answered")
        last = self.login_pdu(pieces[-1], csg=csg, nsg=nsg, transit=transit, **fields)
        response = self._login_exchange(last)
        answer = response.data
        while response.flags & CONTINUE:
            empty = self.login_pdu(b"", csg=csg, nsg=nsg, transit=transit, **fields)
            response = self._login_exchange(empty)
            answer += response.data
        pairs = wire.parse_pairs(answer)
        self.keys.update(pairs)
        return response, pairs

    def _login_exchange(self, request: Pdu) -> Pdu:
        self.send(request)
        response = self.receive()
        if response.opcode != wire.LOGIN_RESPONSE:
            raise ClosedError(f"not a Login Response: {response}")
        if response["status"]:
            raise LoginError(response)
        self.note_numbers(response)
        if response["itt"] != request["itt"]:
            self.complaints.append("Login Response with another ITT")
        if response.blob("isid") != request.blob("isid"):
            self.complaints.append("Login Response with another ISID")
        if response.flags & 0x80 and not request.flags & 0x80:
            self.complaints.append("transit that was not asked for")
        return response

    def names(self, target: str | None) -> Pairs:
        """The keys of a first Login Request; no target means discovery."""
        if target is None:
            return [("InitiatorName", self.name), ("SessionType", "Discovery")]
        return [
            ("InitiatorName", self.name),
            ("TargetName", target),
            ("SessionType", "Normal"),
        ]

    def login(
        self,
        target: str | None,
        *,
        chap: Chap | None = None,
        security: bool = True,
        keys: Iterable[tuple[str, str]] = (),
        cut: int | None = None,
    ) -> Pairs:
        """Log in completely; return the target's answers to the operational keys.

        Args:
            target: its name, or None for a discovery session.
            chap: authenticate with it.
            security: begin in the security stage; else directly in the operational stage.
            keys: operational keys that replace or extend OPERATIONAL_KEYS.
            cut: bytes of text in a Login Request.
        """
        first = self.names(target)
        if security or chap:
            self._security_stage(first, chap, cut)
            first = []
        self.offers = dict(OPERATIONAL_KEYS) | dict(keys)
        response, pairs = self.login_step([*first, *self.offers.items()], transit=True, cut=cut)
        if not response.flags & 0x80:
            response, more = self.login_step(transit=True)
            pairs += more
        if response.flags & 0x83 != 0x83 or not response["tsih"]:
            self.complaints.append(f"login ends with flags {response.flags:02x}")
        self.tsih = response["tsih"]
        self.header_digest = self.keys.get("HeaderDigest") == "CRC32C"
        self.data_digest = self.keys.get("DataDigest") == "CRC32C"
        return pairs

    def _security_stage(self, first: Pairs, chap: Chap | None, cut: int | None) -> None:
        method = ("AuthMethod", "CHAP,None" if chap else "None")
        along = [("CHAP_A", chap.algorithms)] if chap and chap.together else []
        response, pairs = self.login_step(
            [*first, method, *along], csg=SECURITY, nsg=OPERATIONAL, transit=True, cut=cut
        )
        answers = dict(pairs)
        if chap and answers.get("AuthMethod") == "CHAP":
            if not along:
                response, pairs = self.login_step(
                    [("CHAP_A", chap.algorithms)], csg=SECURITY, cut=cut
                )
                answers = dict(pairs)
            response = self._chap_response(chap, answers, cut)
        if response.flags & 0x83 != 0x81:
            self.complaints.append(f"security stage ends with flags {response.flags:02x}")

    def _chap_response(self, chap: Chap, challenge: dict[str, str], cut: int | None) -> Pdu:
        algorithm = challenge["CHAP_A"]
        theirs = decode_binary(challenge["CHAP_C"])
        answer = chap_hash(algorithm, int(challenge["CHAP_I"], 0), chap.secret, theirs)
        offers = [("CHAP_N", chap.user), ("CHAP_R", chap.encode(answer))]
        if chap.target_secret is not None:
            offers += [("CHAP_I", "77"), ("CHAP_C", chap.encode(chap.challenge))]
        response, pairs = self.login_step(
            offers, csg=SECURITY, nsg=OPERATIONAL, transit=True, cut=cut
        )
        if chap.target_secret is not None:
            expected = chap_hash(algorithm, 77, chap.target_secret, chap.challenge)
            if decode_binary(dict(pairs)["CHAP_R"]) != expected:
                self.complaints.append("the target does not know its secret")
        return response
