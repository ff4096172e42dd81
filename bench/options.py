"""The options of all benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """The command line's options.

    Attributes:
        rounds: measurements per point and target.
        seconds: of each.
        digests: use header and data digests.
        only: part of the names of the points wanted.
        servers: the two targets that are compared.
        scenario: part of the names of the scenarios wanted (``disks``).
        json: where to write figures to, too (``disks``).
    """

    rounds: int
    seconds: float
    digests: bool = False
    only: str = ""
    servers: tuple[str, str] = ("scstfs", "tgt")
    scenario: str = ""
    json: Path | None = None
