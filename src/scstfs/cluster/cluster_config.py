"""The part of the command line that is about the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: How long a node may be silent before the others go on without it (seconds); etcd counts in whole
#: seconds, and has at least 2.
DEFAULT_TTL: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdAccess:
    """How to reach etcd.

    Attributes:
        urls: of its members.
        ca: certificates of the authorities that may have signed theirs; None for the system's.
        cert, key: this node's certificate and its private key.
        user: of etcd's own accounts; None where it wants none.
        password_file: whose first line is the password.
    """

    urls: tuple[str, ...]
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """What a node needs.

    Attributes:
        node: its name, which no other node has.
        ttl: of its lease (seconds).
    """

    etcd: EtcdAccess
    node: str
    ttl: int = DEFAULT_TTL
