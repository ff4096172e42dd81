"""Negotiation of operational keys: RFC 7143 6.2 applied to the table of keys.

What each refusal means on the wire:

- NotUnderstood: a key that no standard we follow defines;
- Irrelevant: a key we know, where it decides nothing (another stage, a discovery session, the scope
  of a session when the connection is not its first);
- Reject: an invalid value, or a key that cannot be negotiated now.

A number outside what the standard allows counts as the nearest one allowed. A key sent twice, or a
reserved word proposed as a value, ends the negotiation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.keys import KEYS, Digest, Key, KeyKind, KeyPhase, KeyScope
from scstfs.iscsi.text_format import (
    IRRELEVANT,
    NOT_UNDERSTOOD,
    REJECT,
    RESERVED_VALUES,
    Pairs,
    parse_boolean,
    parse_list,
    parse_number,
)

MAX_KEYS_OFFERED: Final = 512
"""Most different keys in one negotiation."""


@dataclass(frozen=True, slots=True)
class SessionParameters:
    """The negotiated parameters; the defaults are RFC 7143's. Lengths are bytes, times seconds."""

    initial_r2t: int = 1
    immediate_data: int = 1
    max_recv_data_segment_length: int = 8192
    """Most bytes that the initiator may send us in one data segment."""
    max_xmit_data_segment_length: int = 8192
    """Most bytes that we may send the initiator in one data segment."""
    max_burst_length: int = 262144
    first_burst_length: int = 65536
    max_outstanding_r2t: int = 1
    data_pdu_in_order: int = 1
    data_sequence_in_order: int = 1
    header_digest: int = Digest.NONE
    data_digest: int = Digest.NONE
    max_connections: int = 1
    default_time2wait: int = 2
    default_time2retain: int = 20
    error_recovery_level: int = 0
    task_reporting: int = 1
    """A bit of the choices of TaskReporting."""
    protocol_level: int = 0
    """0 if it was not negotiated; INQUIRY data then shows no level, as with SCST."""

    @property
    def has_header_digest(self) -> bool:
        """PDUs of the full feature phase carry a CRC32C of their header."""
        return self.header_digest == Digest.CRC32C

    @property
    def has_data_digest(self) -> bool:
        """Data segments of the full feature phase carry a CRC32C."""
        return self.data_digest == Digest.CRC32C


def without_connection(parameters: SessionParameters) -> SessionParameters:
    """Return what remains valid of `parameters` for another connection of the same session."""
    return replace(
        parameters,
        **{
            key.field: key.rfc_default
            for key in KEYS.values()
            if key.field and key.scope is KeyScope.CONNECTION
        },
    )


class Negotiation:
    """The negotiation of one login, or of one exchange of Text PDUs.

    Args:
        ours: values of the target's attributes by name; what is missing has its default.
        discovery: of a discovery session.
        agreed: the earlier parameters, if this is not the login of a session's first connection;
            see `without_connection` for another login in the same session.
    """

    __slots__ = ("_agreed", "_declared", "_discovery", "_leading", "_offered", "_ours", "_results")

    def __init__(
        self,
        ours: Mapping[str, int],
        *,
        discovery: bool = False,
        agreed: SessionParameters | None = None,
    ) -> None:
        self._ours = ours
        self._discovery = discovery
        self._leading = agreed is None
        self._agreed = agreed or SessionParameters()
        self._offered: set[str] = set()
        self._declared: set[str] = set()
        self._results: dict[str, int] = {}

    def answer(self, pairs: Pairs, phase: KeyPhase) -> Pairs:
        """Answer the pairs of one text; keys of the kind DECLARED_TEXT are passed over.

        Raises:
            ProtocolError: the initiator broke a rule that ends the negotiation.
        """
        answers: dict[str, str] = {}
        for name, value in sorted(pairs, key=_is_dependent):
            answer = self._answer_pair(name, value, phase)
            if answer is not None:
                answers[name] = answer
        # `answers` is in the order of evaluation; answer in the initiator's order.
        replies = [(name, answers[name]) for name, _ in pairs if name in answers]
        return replies + self._declarations(phase)

    def announce(self, name: str) -> None:
        """Note that we declare a key; the initiator may answer that it does not understand it."""
        self._declared.add(name)

    def result(self) -> SessionParameters:
        """Return what has been agreed on so far."""
        fields = {KEYS[name].field: value for name, value in self._results.items()}
        fields.pop("", None)
        merged = replace(self._agreed, **fields)
        if merged.first_burst_length <= merged.max_burst_length:
            return merged
        return replace(merged, first_burst_length=merged.max_burst_length)

    def _answer_pair(self, name: str, value: str, phase: KeyPhase) -> str | None:
        if value in RESERVED_VALUES:
            if name in self._declared:
                return None
            raise ProtocolError(f"{name}={value} proposes a reserved word")
        key = KEYS.get(name)
        if key is not None and key.kind is KeyKind.DECLARED_TEXT and phase in key.phases:
            if not key.target_only:
                return None
            self._note_offer(name)
            return REJECT
        self._note_offer(name)
        if key is None or key.kind is KeyKind.SETTING:
            return NOT_UNDERSTOOD
        if phase not in key.phases:
            return REJECT if phase is KeyPhase.FULL_FEATURE else IRRELEVANT
        if key.scope is KeyScope.NORMAL_SESSION and self._discovery:
            return IRRELEVANT
        if key.scope is not KeyScope.CONNECTION and not self._leading:
            return IRRELEVANT
        return _RULES[key.kind](self, key, value)

    def _note_offer(self, name: str) -> None:
        if name in self._offered:
            raise ProtocolError(f"{name} is negotiated twice")
        if len(self._offered) == MAX_KEYS_OFFERED:
            raise ProtocolError(f"more than {MAX_KEYS_OFFERED} keys in one negotiation")
        self._offered.add(name)

    def _ours_of(self, key: Key) -> int:
        return self._ours.get(key.name, key.default) if key.effective else key.rfc_default

    def _declarations(self, phase: KeyPhase) -> Pairs:
        """Declare our side of a key that the initiator declared; once, only during login."""
        if phase is KeyPhase.FULL_FEATURE:
            return []
        declarations: Pairs = []
        for name in self._offered - self._declared:
            key = KEYS.get(name)
            if key is not None and key.peer_limits in self._results:
                self.announce(name)
                declarations.append((name, self._agree(key, self._ours_of(key))))
        return declarations

    def _boolean(self, key: Key, value: str) -> str:
        offered = parse_boolean(value)
        if offered is None:
            return REJECT
        ours = self._ours_of(key)
        return self._agree(key, offered & ours if key.kind is KeyKind.AND else offered | ours)

    def _number(self, key: Key, value: str) -> str:
        offered = parse_number(value)
        if offered is None:
            return REJECT
        choose = max if key.kind is KeyKind.MAXIMUM else min
        result = choose(key.bounds.clamp(offered), self._ours_of(key))
        if key.at_most:
            limit = KEYS[key.at_most]
            result = min(result, self._results.get(limit.name, limit.rfc_default))
        return self._agree(key, result)

    def _list(self, key: Key, value: str) -> str:
        ours = self._ours_of(key)
        known = {name: 1 << index for index, name in enumerate(key.choices) if ours & 1 << index}
        common = [known[name] for name in parse_list(value) or () if name in known]
        if not common:
            return REJECT
        return self._agree(key, max(common) if key.strongest_first else common[0])

    def _declared_number(self, key: Key, value: str) -> str | None:
        offered = parse_number(value)
        if offered is None:
            return REJECT
        limited = KEYS[key.peer_limits]
        self._results[limited.name] = min(key.bounds.clamp(offered), self._ours_of(limited))
        return None

    def _irrelevant(self, _key: Key, _value: str) -> str:
        return IRRELEVANT

    def _reject(self, _key: Key, _value: str) -> str:
        return REJECT

    def _agree(self, key: Key, value: int) -> str:
        self._results[key.name] = value
        return key.show(value)


def _is_dependent(pair: tuple[str, str]) -> bool:
    key = KEYS.get(pair[0])
    return key is not None and bool(key.at_most)


_RULES: Final[Mapping[KeyKind, Callable[[Negotiation, Key, str], str | None]]] = {
    KeyKind.AND: Negotiation._boolean,
    KeyKind.OR: Negotiation._boolean,
    KeyKind.MINIMUM: Negotiation._number,
    KeyKind.MAXIMUM: Negotiation._number,
    KeyKind.LIST: Negotiation._list,
    KeyKind.DECLARED_NUMBER: Negotiation._declared_number,
    KeyKind.AUTHENTICATION: Negotiation._irrelevant,
    KeyKind.OBSOLETE: Negotiation._reject,
}
