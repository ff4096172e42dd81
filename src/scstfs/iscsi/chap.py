"""CHAP, one-way and mutual: RFC 7143 12.1.3, RFC 1994.

The initiator lists algorithms (CHAP_A); we take the first that we know (RFC 7143 6.2.1) and send an
identifier (CHAP_I) and a random challenge (CHAP_C). It answers with a user name (CHAP_N) and the
hash of identifier, secret and challenge (CHAP_R); with its own identifier and challenge it asks us
to authenticate, too.

Secrets never appear in a repr, a log line or an exception.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from scstfs.iscsi.codes import LoginStatus
from scstfs.iscsi.errors import LoginRefused, ProtocolError
from scstfs.iscsi.text_format import (
    Pairs,
    decode_binary,
    encode_binary,
    is_base64,
    parse_list,
    parse_number,
)

ALGORITHMS: Final[Mapping[str, str]] = MappingProxyType(
    {"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}
)
"""CHAP_A values and hashlib's names for them."""

CHALLENGE_LENGTH: Final = 32
MAX_CHALLENGE: Final = 1024
"""Bytes in a challenge (RFC 7143 12.1.3)."""
MAX_SECRET: Final = 255
"""Bytes of a secret that count."""
_MAX_RESPONSE: Final = 64
_MAX_IDENTIFIER: Final = 255


@dataclass(frozen=True, slots=True)
class User:
    """A name and its secret."""

    name: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The users that may log in, and the user that we authenticate as.

    Without incoming users, initiators need not authenticate.
    """

    incoming: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Secrets by user name."""
    outgoing: User | None = None

    @property
    def required(self) -> bool:
        """Initiators must authenticate."""
        return bool(self.incoming)


class Chap:
    """The target's side of one CHAP authentication.

    Args:
        credentials: the users that may log in, and our own.
        random: returns that many random bytes, fit for cryptography.
    """

    __slots__ = ("_algorithm", "_challenge", "_credentials", "_identifier", "_random", "user")

    def __init__(self, credentials: Credentials, random: Callable[[int], bytes]) -> None:
        self._credentials = credentials
        self._random = random
        self._algorithm = ""
        self._identifier = 0
        self._challenge = b""
        self.user: str | None = None
        """Name of the authenticated user, once there is one."""

    def __repr__(self) -> str:
        return f"<Chap user={self.user!r}>"

    @property
    def done(self) -> bool:
        """The initiator has authenticated."""
        return self.user is not None

    def step(self, keys: Mapping[str, str]) -> Pairs:
        """Take the CHAP keys of one text and return ours.

        Raises:
            LoginRefused: authentication failed, or the keys are not those of this step.
        """
        try:
            if not self._challenge:
                return self._send_challenge(keys)
            self._check_response(keys)
            return self._authenticate_target(keys)
        except ProtocolError as error:
            raise _malformed(error.why) from None

    def _send_challenge(self, keys: Mapping[str, str]) -> Pairs:
        offered = parse_list(_need(keys, "CHAP_A"))
        if offered is None:
            raise _malformed("CHAP_A lists an empty value")
        number = next((number for number in offered if number in ALGORITHMS), None)
        if number is None:
            raise _malformed("no CHAP algorithm in common")
        self._algorithm = ALGORITHMS[number]
        self._identifier = self._random(1)[0]
        self._challenge = self._random(CHALLENGE_LENGTH)
        return [
            ("CHAP_A", number),
            ("CHAP_I", str(self._identifier)),
            ("CHAP_C", encode_binary(self._challenge)),
        ]

    def _check_response(self, keys: Mapping[str, str]) -> None:
        name = _need(keys, "CHAP_N")
        response = decode_binary(_need(keys, "CHAP_R"), _MAX_RESPONSE)
        secret = self._credentials.incoming.get(name)
        # An unknown user costs as much time as a wrong secret.
        expected = self._hash(self._identifier, secret or b"", self._challenge)
        if not hmac.compare_digest(expected, response) or secret is None:
            raise LoginRefused(
                LoginStatus.AUTHENTICATION_FAILURE, f"CHAP: wrong user {name!a} or secret"
            )
        ours = self._credentials.outgoing
        if ours is not None and hmac.compare_digest(ours.secret[:MAX_SECRET], secret[:MAX_SECRET]):
            # It could be our own answer, reflected (RFC 7143 9.2.1).
            raise LoginRefused(
                LoginStatus.AUTHENTICATION_FAILURE,
                f"CHAP: user {name!a} has the secret that we answer with",
            )
        self.user = name

    def _authenticate_target(self, keys: Mapping[str, str]) -> Pairs:
        if "CHAP_I" not in keys and "CHAP_C" not in keys:
            return []
        identifier = parse_number(_need(keys, "CHAP_I"))
        encoded = _need(keys, "CHAP_C")
        challenge = decode_binary(encoded, MAX_CHALLENGE)
        if identifier is None or identifier > _MAX_IDENTIFIER:
            raise _malformed("CHAP_I is no identifier")
        if hmac.compare_digest(challenge, self._challenge):
            raise _malformed("the initiator reflects our CHAP challenge")
        user = self._credentials.outgoing
        if user is None:
            raise LoginRefused(
                LoginStatus.AUTHENTICATION_FAILURE,
                "the initiator wants us to authenticate and there is no outgoing user",
            )
        response = self._hash(identifier, user.secret, challenge)
        return [
            ("CHAP_N", user.name),
            ("CHAP_R", encode_binary(response, as_base64=is_base64(encoded))),
        ]

    def _hash(self, identifier: int, secret: bytes, challenge: bytes) -> bytes:
        return hashlib.new(
            self._algorithm,
            bytes([identifier]) + secret[:MAX_SECRET] + challenge,
            usedforsecurity=False,  # Initiators need MD5, even where a policy bars it
        ).digest()


def _need(keys: Mapping[str, str], name: str) -> str:
    value = keys.get(name)
    if not value:
        raise _malformed(f"{name} is missing")
    return value


def _malformed(why: str) -> LoginRefused:
    return LoginRefused(LoginStatus.INITIATOR_ERROR, f"CHAP: {why}")
