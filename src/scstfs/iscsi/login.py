"""The login phase of one connection, from the target's side: RFC 7143 6.3, 11.12, 11.13.

A `Login` gets the PDUs of the initiator one by one and returns what to send, whether to close, and
finally the negotiated parameters. A table of (state, stage of the request) has what may come next.
A missing pair ends the login, as does any other fault: with a Login Response if the standard has a
status for it, without one where a target must not answer.

The first text of a login is checked in this order: initiator name, whether logins are suspended,
session type, target name, state of the target, access, redirection, session, number of sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final, Generic

from scstfs.iscsi import login_pdu, pdu
from scstfs.iscsi.admission import ExistingSession, LoginHost, LoginResult, LoginTargetT
from scstfs.iscsi.chap import Chap, Credentials
from scstfs.iscsi.codes import (
    CONTINUE,
    IMMEDIATE,
    LOGIN_CSG_SHIFT,
    LOGIN_TRANSIT,
    OPCODE_MASK,
    VERSION,
    LoginStage,
    LoginStatus,
    PduOpcode,
)
from scstfs.iscsi.errors import LoginRefused, ProtocolError, RejectReason
from scstfs.iscsi.keys import KEYS, KeyKind, KeyPhase
from scstfs.iscsi.login_pdu import LoginRequest
from scstfs.iscsi.names import is_initiator_name
from scstfs.iscsi.negotiate import Negotiation, without_connection
from scstfs.iscsi.serial import add
from scstfs.iscsi.text_format import (
    MAX_SEGMENT,
    NONE,
    REJECT,
    Assembler,
    Pairs,
    decode,
    encode,
    parse_list,
    split,
)

TIMEOUT: Final = 30.0
"""Seconds from the connection to the end of its login."""
MAX_REQUESTS: Final = 1024
"""Login Requests in one login: enough for a text cut into single bytes."""
PORTAL_GROUP_TAG: Final = "1"
"""All portals are one portal group."""

CHAP: Final = "CHAP"
"""The AuthMethod we know besides None."""

_DISCOVERY: Final = "Discovery"
_NORMAL: Final = "Normal"
_NAMES: Final = ("InitiatorName", "InitiatorAlias", "SessionType", "TargetName")


@dataclass(frozen=True, slots=True)
class LoginStep(Generic[LoginTargetT]):
    """What to do after a PDU: send, then close or continue; with a result, login is over."""

    send: bytes = b""
    """A complete PDU, padded and without digests, or nothing."""
    close: bool = False
    why: str = ""
    """Why the connection is to be closed; for the log."""
    status: LoginStatus = LoginStatus.SUCCESS
    """Status of the Login Response."""
    result: LoginResult[LoginTargetT] | None = None


class _State(Enum):
    START = auto()
    SECURITY = auto()
    AUTHENTICATION = auto()
    """An authentication method has been chosen and is under way."""
    OPERATIONAL = auto()
    OVER = auto()


class _Dropped(Exception):  # noqa: N818 - carries a decision to the one place that acts on it
    """Close the connection without an answer, or with a PDU that is not a Login Response."""

    def __init__(self, why: str, send: bytes = b"") -> None:
        super().__init__(why)
        self.why = why
        self.send = send


class Login(Generic[LoginTargetT]):
    """The login of one connection.

    Args:
        host: the target side.
        random: returns that many random bytes, fit for cryptography.
        now: the time in seconds of any clock that does not go back.
        timeout: seconds until `deadline`.
    """

    def __init__(
        self,
        host: LoginHost[LoginTargetT],
        *,
        random: Callable[[int], bytes],
        now: float,
        timeout: float = TIMEOUT,
    ) -> None:
        self.deadline = now + timeout
        """When to call `expire`, if there is no result by then."""
        self.initiator = ""
        """The initiator's name once it is known; for the log."""
        self._host = host
        self._random = random
        self._state = _State.START
        self._first: LoginRequest | None = None
        self._requests = 0
        self._stat_sn = 0
        self._exp_cmd_sn = 0
        self._names: dict[str, str] = {}
        self._target: LoginTargetT | None = None
        self._existing: ExistingSession | None = None
        self._credentials = Credentials()
        self._method = ""
        self._chap = Chap(self._credentials, random)
        self._negotiation = Negotiation({})
        self._received = Assembler()
        self._unsent: list[bytes] = []

    def receive(
        self, header: pdu.BytesLike, data: pdu.BytesLike, now: float
    ) -> LoginStep[LoginTargetT]:
        """Take a PDU: its 48-byte header and its data segment without padding."""
        if self._state is _State.OVER or now >= self.deadline:
            return self.expire()
        try:
            return self._receive(header, data)
        except _Dropped as dropped:
            self._state = _State.OVER
            return LoginStep(send=dropped.send, close=True, why=dropped.why)
        except LoginRefused as refusal:
            return self._refuse(header, refusal)
        except ProtocolError as error:
            return self._refuse(header, LoginRefused(LoginStatus.INITIATOR_ERROR, error.why))

    def expire(self) -> LoginStep[LoginTargetT]:
        """End a login that takes too long."""
        self._state = _State.OVER
        return LoginStep(close=True, why="login is over or took too long")

    # One request.

    def _receive(self, header: pdu.BytesLike, data: pdu.BytesLike) -> LoginStep[LoginTargetT]:
        request = self._check_header(header, data)
        handler = _HANDLERS.get((self._state, request.current_stage))
        if handler is None:
            raise ProtocolError(f"a request of stage {request.current_stage} has no place here")
        if self._unsent:
            return self._continue_response(request, data)
        text = self._received.add(data, more=request.continues)
        if text is None:
            return self._respond(request, b"")
        answers = handler(self, request, decode(text))
        self._unsent = split(encode(answers))
        return self._send_next(request)

    def _check_header(self, header: pdu.BytesLike, data: pdu.BytesLike) -> LoginRequest:
        opcode = header[0]
        if opcode & OPCODE_MASK != PduOpcode.LOGIN_REQUEST:
            if self._first is None:
                raise _Dropped(f"PDU {opcode:#04x} before login")
            raise LoginRefused(LoginStatus.INVALID_DURING_LOGIN, f"PDU {opcode:#04x} during login")
        if not opcode & IMMEDIATE:
            raise _Dropped("Login Request is not immediate", self._reject(header))
        if len(data) > MAX_SEGMENT:
            raise _Dropped(f"Login Request with {len(data)} bytes of text")
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            raise _Dropped("too many Login Requests")
        request = login_pdu.unpack_login_request(header)
        if self._first is None:
            self._first = request
            self._exp_cmd_sn = request.cmd_sn
            if request.version_min > VERSION:
                raise LoginRefused(
                    LoginStatus.UNSUPPORTED_VERSION, f"version {request.version_min} is required"
                )
        _check_flags(request)
        _check_constant(self._first, request)
        return request

    def _reject(self, header: pdu.BytesLike) -> bytes:
        reject = pdu.pack_reject(
            reason=RejectReason.PROTOCOL_ERROR,
            stat_sn=self._stat_sn,
            exp_cmd_sn=self._exp_cmd_sn,
            max_cmd_sn=add(self._exp_cmd_sn),
        )
        return pdu.with_data(reject, bytes(header[: pdu.BHS_LENGTH]))

    # One response.

    def _continue_response(
        self, request: LoginRequest, data: pdu.BytesLike
    ) -> LoginStep[LoginTargetT]:
        """Continue a response that is cut by the C bit; the request must be empty."""
        if data or request.continues:
            raise ProtocolError("text in the middle of our response")
        return self._send_next(request)

    def _send_next(self, request: LoginRequest) -> LoginStep[LoginTargetT]:
        segment = self._unsent.pop(0)
        if self._unsent:
            return self._respond(request, segment, CONTINUE)
        if not request.transit or not self._may_transit(request.next_stage):
            return self._respond(request, segment)
        transit = LOGIN_TRANSIT | request.next_stage
        if request.next_stage == LoginStage.FULL_FEATURE:
            result = self._finish(request)
            step = self._respond(request, segment, transit, tsih=result.tsih)
            return replace(step, result=result)
        self._state = _State.OPERATIONAL
        return self._respond(request, segment, transit)

    def _may_transit(self, next_stage: int) -> bool:
        if (self._state, next_stage) in _TRANSITIONS:
            return True
        if self._state is _State.AUTHENTICATION:
            return False  # the initiator asks before the method is done: not yet
        raise ProtocolError(f"no way to stage {next_stage}")

    def _respond(
        self,
        request: LoginRequest,
        segment: bytes,
        flags: int = 0,
        *,
        tsih: int | None = None,
        status: LoginStatus = LoginStatus.SUCCESS,
    ) -> LoginStep[LoginTargetT]:
        response = login_pdu.pack_login_response(
            flags=flags | request.current_stage << LOGIN_CSG_SHIFT,
            isid=request.isid,
            tsih=request.tsih if tsih is None else tsih,
            itt=request.itt,
            stat_sn=self._stat_sn,
            exp_cmd_sn=self._exp_cmd_sn,
            max_cmd_sn=add(self._exp_cmd_sn),
            status=status,
            data_length=len(segment),
        )
        self._stat_sn = add(self._stat_sn)
        return LoginStep(send=pdu.with_data(response, segment), status=status)

    def _finish(self, request: LoginRequest) -> LoginResult[LoginTargetT]:
        login = LoginResult(
            target=self._target,
            initiator=self.initiator,
            user=self._chap.user,
            isid=request.isid,
            tsih=request.tsih,
            cid=request.cid,
            replaces=self._existing,
            parameters=self._negotiation.result(),
            stat_sn=add(self._stat_sn),
            exp_cmd_sn=self._exp_cmd_sn,
            max_cmd_sn=add(self._exp_cmd_sn),
            named=self._names.get("TargetName"),
        )
        tsih = self._host.open_session(login)
        self._state = _State.OVER
        return replace(login, tsih=tsih)

    def _refuse(self, header: pdu.BytesLike, refusal: LoginRefused) -> LoginStep[LoginTargetT]:
        self._state = _State.OVER
        request = self._first or login_pdu.unpack_login_request(header)
        step = self._respond(request, encode(refusal.text), status=refusal.status)
        return replace(step, close=True, why=refusal.why)

    # The first text.

    def _start_security(self, request: LoginRequest, pairs: Pairs) -> Pairs:
        answers = self._start(request, pairs)
        self._state = _State.SECURITY
        return answers + self._security(request, pairs)

    def _start_operational(self, request: LoginRequest, pairs: Pairs) -> Pairs:
        answers = self._start(request, pairs)
        if self._credentials.required and not self._host.is_internal:
            raise LoginRefused(
                LoginStatus.AUTHENTICATION_FAILURE, "the initiator does not offer to authenticate"
            )
        self._state = _State.OPERATIONAL
        return answers + self._operational(request, pairs)

    def _start(self, request: LoginRequest, pairs: Pairs) -> Pairs:
        names = self._take_names(pairs)
        self.initiator = _check_initiator(names.get("InitiatorName"))
        if self._host.is_suspended:
            raise LoginRefused(LoginStatus.SERVICE_UNAVAILABLE, "logins are suspended")
        session_type = names.get("SessionType", _NORMAL)
        answers: Pairs = []
        if session_type == _DISCOVERY:
            self._start_discovery(request)
        elif session_type == _NORMAL:
            target = self._find_target(names.get("TargetName"))
            self._join_session(request, target)
            if target.alias:
                answers.append(("TargetAlias", target.alias))
        else:
            raise LoginRefused(
                LoginStatus.SESSION_TYPE_NOT_SUPPORTED, f"session type {session_type!a}"
            )
        answers.append(("TargetPortalGroupTag", PORTAL_GROUP_TAG))
        for name, _ in answers:
            self._negotiation.announce(name)
        return answers

    def _take_names(self, pairs: Pairs) -> dict[str, str]:
        """Store the initiator's declarations; it may repeat them unchanged."""
        for name, value in pairs:
            if name in _NAMES and self._names.setdefault(name, value) != value:
                raise ProtocolError(f"{name} changes during login")
        return self._names

    def _start_discovery(self, request: LoginRequest) -> None:
        if request.tsih:
            raise LoginRefused(
                LoginStatus.SESSION_DOES_NOT_EXIST, "discovery sessions have one connection"
            )
        self._authenticate_with(self._host.discovery_credentials)
        self._negotiation = Negotiation({}, discovery=True)

    def _find_target(self, name: str | None) -> LoginTargetT:
        if not name:
            raise LoginRefused(LoginStatus.MISSING_PARAMETER, "TargetName is missing")
        target = self._host.find_target(name)
        if target is None:
            raise LoginRefused(LoginStatus.NOT_FOUND, f"there is no target {name!a}")
        if not target.enabled:
            raise _Dropped(f"target {target.name} is disabled")
        refusal = self._host.refusal(target, self.initiator)
        if refusal is not None:
            raise LoginRefused(LoginStatus.NOT_FOUND, refusal)
        redirect = self._host.redirect(target)
        if redirect is not None:
            status = (
                LoginStatus.TARGET_MOVED_PERMANENTLY
                if redirect.permanent
                else LoginStatus.TARGET_MOVED_TEMPORARILY
            )
            raise LoginRefused(
                status, f"redirected to {redirect.text}", (("TargetAddress", redirect.text),)
            )
        return target

    def _join_session(self, request: LoginRequest, target: LoginTargetT) -> None:
        """Find the session that the connection is for (RFC 7143 6.3.1)."""
        existing = self._host.find_session(target, self.initiator, request.isid)
        agreed = None
        if request.tsih:
            if existing is None or existing.tsih != request.tsih:
                raise LoginRefused(
                    LoginStatus.SESSION_DOES_NOT_EXIST, f"there is no session {request.tsih}"
                )
            if existing.cid != request.cid:
                raise LoginRefused(LoginStatus.TOO_MANY_CONNECTIONS, "sessions have one connection")
            agreed = without_connection(existing.parameters)
            self._exp_cmd_sn = existing.exp_cmd_sn
        elif existing is None and not self._host.has_room(target):
            raise LoginRefused(LoginStatus.OUT_OF_RESOURCES, "MaxSessions is reached")
        self._target = target
        self._existing = existing
        self._authenticate_with(target.credentials)
        self._negotiation = Negotiation(target.parameters, agreed=agreed)

    def _authenticate_with(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._chap = Chap(credentials, self._random)

    # The stages.

    def _security(self, _request: LoginRequest, pairs: Pairs) -> Pairs:
        self._take_names(pairs)
        method, others = _partition(pairs)
        answers: Pairs = []
        offered = method.pop("AuthMethod", None)
        if offered is not None:
            answers.append(("AuthMethod", self._choose_method(offered)))
        elif self._credentials.required and not self._chap.done:
            raise LoginRefused(LoginStatus.AUTHENTICATION_FAILURE, "AuthMethod is not offered")
        if self._method == CHAP and not self._chap.done:
            self._state = _State.AUTHENTICATION
            if method:  # the standard wants AuthMethod alone first, but some initiators do not wait
                answers += self._chap.step(method)
        else:
            others += method.items()
        return answers + self._negotiation.answer(others, KeyPhase.SECURITY)

    def _choose_method(self, offered: str) -> str:
        if self._method:
            raise ProtocolError("AuthMethod is negotiated twice")
        methods = parse_list(offered)
        if methods is None:
            raise ProtocolError(f"AuthMethod={offered!a} lists an empty value")
        self._method = CHAP if self._credentials.required else NONE
        if self._method not in methods:
            raise LoginRefused(
                LoginStatus.AUTHENTICATION_FAILURE,
                f"no acceptable authentication in AuthMethod={offered!a}",
                (("AuthMethod", REJECT),),
            )
        return self._method

    def _authenticate(self, _request: LoginRequest, pairs: Pairs) -> Pairs:
        self._take_names(pairs)
        method, others = _partition(pairs)
        if "AuthMethod" in method:
            raise ProtocolError("AuthMethod is negotiated twice")
        answers = self._negotiation.answer(others, KeyPhase.SECURITY) + self._chap.step(method)
        if self._chap.done:
            self._state = _State.SECURITY
        return answers

    def _operational(self, _request: LoginRequest, pairs: Pairs) -> Pairs:
        self._take_names(pairs)
        return self._negotiation.answer(pairs, KeyPhase.OPERATIONAL)


def _check_flags(request: LoginRequest) -> None:
    """Refuse contradictory flags (RFC 7143 11.12.1 to 11.12.3)."""
    if request.lengths > pdu.DATA_LENGTH_MASK:
        raise ProtocolError("Login Request with additional header segments")
    if request.transit and request.continues:
        raise ProtocolError("Login Request with both T and C bits")


def _check_constant(first: LoginRequest, request: LoginRequest) -> None:
    """Refuse a change of fields that must stay the same during a login (RFC 7143 11.12)."""
    for name in _CONSTANT:
        if getattr(request, name) != getattr(first, name):
            raise ProtocolError(f"{name} changes during login")


def _check_initiator(name: str | None) -> str:
    if name is None:
        raise LoginRefused(LoginStatus.MISSING_PARAMETER, "InitiatorName is missing")
    if not is_initiator_name(name):
        raise LoginRefused(LoginStatus.INITIATOR_ERROR, f"not an initiator name: {name!a}")
    return name


def _partition(pairs: Pairs) -> tuple[dict[str, str], Pairs]:
    """Separate the authentication keys from all others."""
    method: dict[str, str] = {}
    others: Pairs = []
    for name, value in pairs:
        key = KEYS.get(name)
        if key is None or key.kind is not KeyKind.AUTHENTICATION:
            others.append((name, value))
        elif name in method:
            raise ProtocolError(f"{name} is sent twice")
        else:
            method[name] = value
    return method, others


_CONSTANT: Final = ("version_max", "version_min", "isid", "tsih", "itt", "cid")

_HANDLERS: Final[Mapping[tuple[_State, int], Callable[..., Pairs]]] = {
    (_State.START, LoginStage.SECURITY): Login._start_security,
    (_State.START, LoginStage.OPERATIONAL): Login._start_operational,
    (_State.SECURITY, LoginStage.SECURITY): Login._security,
    (_State.AUTHENTICATION, LoginStage.SECURITY): Login._authenticate,
    (_State.OPERATIONAL, LoginStage.OPERATIONAL): Login._operational,
}
"""The method that handles a text, by our state and the stage of the request that ends it."""

_TRANSITIONS: Final = frozenset(
    {
        (_State.SECURITY, LoginStage.OPERATIONAL),
        (_State.SECURITY, LoginStage.FULL_FEATURE),
        (_State.OPERATIONAL, LoginStage.FULL_FEATURE),
    }
)
"""The stages that the T bit leads to, by state."""
