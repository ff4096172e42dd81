"""The table of iSCSI keys: one row has all that negotiation and the tree need of a key.

The keys are those of RFC 7143 12 and 13 (the clause is in each row), the settings of SCST's targets
that are never sent, and keys of older or other standards that initiators may still send. Values are
integers throughout: booleans are 0 and 1, a list is the sum of 1 << index over the choices in it.

A row with `attribute` is an attribute of a target; the row holds its default, the range its setter
accepts and its printed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntFlag, auto
from types import MappingProxyType
from typing import Final, NamedTuple

from scstfs.iscsi.text_format import NO, YES


class KeyKind(Enum):
    """What decides a key's value."""

    AND = auto()
    """Yes only if both sides say Yes."""
    OR = auto()
    """Yes if either side says Yes."""
    MINIMUM = auto()
    MAXIMUM = auto()
    LIST = auto()
    """One of the values that the initiator lists."""
    DECLARED_NUMBER = auto()
    """Each side declares its own value; there is no common result."""
    DECLARED_TEXT = auto()
    """Names and other text; the login machine evaluates them."""
    AUTHENTICATION = auto()
    """Chooses the authentication method, or belongs to it."""
    OBSOLETE = auto()
    """Always answered Reject."""
    SETTING = auto()
    """A setting of the target; never sent."""


class KeyPhase(IntFlag):
    """Where a key may be sent."""

    SECURITY = 1
    OPERATIONAL = 2
    FULL_FEATURE = 4
    NEVER = 0
    LOGIN = SECURITY | OPERATIONAL
    ANY = LOGIN | FULL_FEATURE


class KeyScope(Enum):
    """What a negotiated key is valid for."""

    CONNECTION = auto()
    SESSION = auto()
    """Sent on the leading connection only."""
    NORMAL_SESSION = auto()
    """Likewise, and irrelevant in discovery sessions."""


class Digest(IntFlag):
    """Values of HeaderDigest and DataDigest, as the bits of their choices."""

    NONE = 1
    CRC32C = 2


class Bounds(NamedTuple):
    """The least and the greatest number allowed."""

    low: int
    high: int

    def clamp(self, value: int) -> int:
        """Return the allowed number that is nearest to `value`."""
        return min(max(value, self.low), self.high)


BOOLEAN: Final = Bounds(0, 1)


@dataclass(frozen=True, slots=True)
class Key:
    """A row of the table."""

    name: str
    kind: KeyKind
    clause: str
    """Where RFC 7143 defines the key; empty for others."""
    phases: KeyPhase
    scope: KeyScope = KeyScope.CONNECTION
    field: str = ""
    """Where the result is kept in SessionParameters."""
    rfc_default: int = 0
    """The result if neither side sends the key."""
    bounds: Bounds = BOOLEAN
    """What the standard allows; the initiator's number is clamped to it first."""
    default: int = 0
    """Our value in the negotiation, and the default of the attribute."""
    attribute: Bounds | None = None
    """What the setter of the target's attribute accepts; None where there is no attribute."""
    effective: bool = True
    """The attribute's value counts; if not, `rfc_default` does."""
    choices: tuple[str, ...] = ()
    """For a list: the values that we know, weakest first."""
    strongest_first: bool = False
    """Take the strongest value that both sides list instead of the first the initiator lists."""
    at_most: str = ""
    """The key whose result this one's must not exceed."""
    peer_limits: str = ""
    """The setting of ours that the initiator limits by declaring this key."""
    target_only: bool = False
    """An initiator never sends it."""

    @property
    def in_session(self) -> bool:
        """The result is an attribute of a session."""
        return bool(self.field) and self.attribute is not None

    def show(self, value: int) -> str:
        """Return `value` in the form in which it is printed and sent."""
        if self.kind in (KeyKind.AND, KeyKind.OR):
            return YES if value else NO
        if self.kind is KeyKind.LIST:
            return ",".join(
                choice for index, choice in enumerate(self.choices) if value & 1 << index
            )
        return str(value)


MAX_DATA_SEGMENT: Final = 1024 * 1024
"""Most bytes that we accept or send in one data segment, and in one burst."""

_LENGTH: Final = Bounds(512, 2**24 - 1)
_OUR_LENGTH: Final = Bounds(512, MAX_DATA_SEGMENT)
_COUNT: Final = Bounds(1, 65535)
_SECONDS: Final = Bounds(0, 3600)
_TIMEOUT: Final = Bounds(2, 65535)
_UNLIMITED: Final = Bounds(0, 65535)
_DIGESTS: Final = Bounds(Digest.NONE, Digest.NONE | Digest.CRC32C)
_DIGEST_NAMES: Final = ("None", "CRC32C")

# Short names, for a table that can be read as one.
_A: Final = KeyKind.AUTHENTICATION
_T: Final = KeyKind.DECLARED_TEXT
_SECURITY: Final = KeyPhase.SECURITY
_LOGIN: Final = KeyPhase.LOGIN
_OPERATIONAL: Final = KeyPhase.OPERATIONAL
_FULL: Final = KeyPhase.FULL_FEATURE
_NORMAL: Final = KeyScope.NORMAL_SESSION

# fmt: off
_ROWS: Final = (
    Key("AuthMethod", _A, "12.1", _SECURITY),
    Key("CHAP_A", _A, "12.1.3", _SECURITY),
    Key("CHAP_I", _A, "12.1.3", _SECURITY),
    Key("CHAP_C", _A, "12.1.3", _SECURITY),
    Key("CHAP_N", _A, "12.1.3", _SECURITY),
    Key("CHAP_R", _A, "12.1.3", _SECURITY),

    Key("InitiatorName", _T, "13.5", _LOGIN),
    Key("TargetName", _T, "13.4", _LOGIN),
    Key("SessionType", _T, "13.21", _LOGIN),
    Key("InitiatorAlias", _T, "13.7", KeyPhase.ANY),
    Key("TargetAlias", _T, "13.6", KeyPhase.ANY, target_only=True),
    Key("TargetAddress", _T, "13.8", KeyPhase.ANY, target_only=True),
    Key("TargetPortalGroupTag", _T, "13.9", _LOGIN, target_only=True),
    Key("SendTargets", _T, "13.3", _FULL),

    Key("InitialR2T", KeyKind.OR, "13.10", _OPERATIONAL, _NORMAL, "initial_r2t",
        rfc_default=1, default=0, attribute=BOOLEAN),
    Key("ImmediateData", KeyKind.AND, "13.11", _OPERATIONAL, _NORMAL, "immediate_data",
        rfc_default=1, default=1, attribute=BOOLEAN),
    Key("MaxRecvDataSegmentLength", KeyKind.DECLARED_NUMBER, "13.12", _OPERATIONAL | _FULL,
        field="max_recv_data_segment_length", rfc_default=8192, bounds=_LENGTH,
        default=MAX_DATA_SEGMENT, attribute=_OUR_LENGTH, peer_limits="MaxXmitDataSegmentLength"),
    Key("MaxXmitDataSegmentLength", KeyKind.SETTING, "", KeyPhase.NEVER,
        field="max_xmit_data_segment_length", rfc_default=8192,
        default=MAX_DATA_SEGMENT, attribute=_OUR_LENGTH),
    Key("MaxBurstLength", KeyKind.MINIMUM, "13.13", _OPERATIONAL, _NORMAL, "max_burst_length",
        rfc_default=262144, bounds=_LENGTH, default=MAX_DATA_SEGMENT, attribute=_OUR_LENGTH),
    Key("FirstBurstLength", KeyKind.MINIMUM, "13.14", _OPERATIONAL, _NORMAL, "first_burst_length",
        rfc_default=65536, bounds=_LENGTH, default=65536, attribute=_OUR_LENGTH,
        at_most="MaxBurstLength"),
    Key("MaxOutstandingR2T", KeyKind.MINIMUM, "13.17", _OPERATIONAL, _NORMAL, "max_outstanding_r2t",
        rfc_default=1, bounds=_COUNT, default=32, attribute=_COUNT),
    Key("DataPDUInOrder", KeyKind.OR, "13.18", _OPERATIONAL, _NORMAL, "data_pdu_in_order",
        rfc_default=1),
    Key("DataSequenceInOrder", KeyKind.OR, "13.19", _OPERATIONAL, _NORMAL, "data_sequence_in_order",
        rfc_default=1),

    Key("HeaderDigest", KeyKind.LIST, "13.1", _OPERATIONAL, field="header_digest",
        rfc_default=Digest.NONE, default=Digest.NONE, attribute=_DIGESTS,
        choices=_DIGEST_NAMES, strongest_first=True),
    Key("DataDigest", KeyKind.LIST, "13.1", _OPERATIONAL, field="data_digest",
        rfc_default=Digest.NONE, default=Digest.NONE, attribute=_DIGESTS,
        choices=_DIGEST_NAMES, strongest_first=True),

    Key("MaxConnections", KeyKind.MINIMUM, "13.2", _OPERATIONAL, _NORMAL, "max_connections",
        rfc_default=1, bounds=_COUNT, default=1),
    Key("DefaultTime2Wait", KeyKind.MAXIMUM, "13.15", _OPERATIONAL, KeyScope.SESSION,
        "default_time2wait", rfc_default=2, bounds=_SECONDS),
    Key("DefaultTime2Retain", KeyKind.MINIMUM, "13.16", _OPERATIONAL, KeyScope.SESSION,
        "default_time2retain", rfc_default=20, bounds=_SECONDS),
    Key("ErrorRecoveryLevel", KeyKind.MINIMUM, "13.20", _OPERATIONAL, KeyScope.SESSION,
        "error_recovery_level", rfc_default=0, bounds=Bounds(0, 2)),
    # With one connection per session, a response fence only means keeping the order.
    Key("TaskReporting", KeyKind.LIST, "13.23", _OPERATIONAL, _NORMAL, "task_reporting",
        rfc_default=1, default=3, choices=("RFC3720", "ResponseFence")),
    # The standard's default is 1; 0 shows that it was not negotiated (RFC 7144 4.2).
    Key("iSCSIProtocolLevel", KeyKind.MINIMUM, "13.24", _OPERATIONAL, _NORMAL, "protocol_level",
        rfc_default=0, bounds=Bounds(0, 31), default=2),

    Key("IFMarker", KeyKind.AND, "13.25", _OPERATIONAL),
    Key("OFMarker", KeyKind.AND, "13.25", _OPERATIONAL),
    Key("IFMarkInt", KeyKind.OBSOLETE, "13.25", _OPERATIONAL),
    Key("OFMarkInt", KeyKind.OBSOLETE, "13.25", _OPERATIONAL),
    # Remote DMA (RFC 7145) is impossible over TCP, whatever the attribute says.
    Key("RDMAExtensions", KeyKind.AND, "", _OPERATIONAL, _NORMAL, attribute=BOOLEAN,
        effective=False),

    # Settings; times are in seconds, and 0 means never or without a limit.
    Key("QueuedCommands", KeyKind.SETTING, "", KeyPhase.NEVER, default=32,
        attribute=Bounds(1, 2048)),
    Key("RspTimeout", KeyKind.SETTING, "", KeyPhase.NEVER, default=90, attribute=_TIMEOUT),
    Key("NopInInterval", KeyKind.SETTING, "", KeyPhase.NEVER, default=30, attribute=_UNLIMITED),
    Key("NopInTimeout", KeyKind.SETTING, "", KeyPhase.NEVER, default=30, attribute=_TIMEOUT),
    Key("MaxSessions", KeyKind.SETTING, "", KeyPhase.NEVER, default=0, attribute=_UNLIMITED),
)
# fmt: on

KEYS: Final[Mapping[str, Key]] = MappingProxyType({row.name: row for row in _ROWS})
"""The rows by name. Names are case-sensitive (RFC 7143 6.1)."""

ATTRIBUTES: Final = tuple(row for row in _ROWS if row.attribute is not None)
"""The rows that are attributes of a target."""

SESSION_ATTRIBUTES: Final = tuple(row for row in _ROWS if row.in_session)
"""The rows whose result is an attribute of a session."""


def defaults() -> dict[str, int]:
    """Return the values of a new target's attributes, by name."""
    return {row.name: row.default for row in ATTRIBUTES}
