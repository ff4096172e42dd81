"""What `scstfs mount` is told on its command line, and what it does without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scstfs.portals import Portal


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the command line says."""

    mountpoint: str = "/sys/kernel/scst_tgt"
    state_dir: Path = Path("/var/lib/scst")
    portals: tuple[Portal, ...] = ()
    """Where to listen; nothing stands for all addresses."""
    pid_file: Path | None = Path("/run/iscsi-scstd.pid")
    """That of SCST's iSCSI daemon, for scripts that signal it; None for no file."""
