"""What `scstfs mount` is told on its command line, and what it does without."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from scstfs.portals import ListenPortal


class Resume(enum.StrEnum):
    """Whether to go on with what ran before, instead of loading a file."""

    AUTO = "auto"
    """After an end that was not a clean one."""
    NEVER = "never"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the command line says."""

    mountpoint: str = "/sys/kernel/scst_tgt"
    state_dir: Path = Path("/var/lib/scst")
    portals: tuple[ListenPortal, ...] = ()
    """Where to listen; nothing stands for all addresses."""
    pid_file: Path | None = Path("/run/iscsi-scstd.pid")
    """That of SCST's iSCSI daemon, for scripts that signal it; None for no file."""
    config: str | None = None
    """The configuration to begin with; a leading - says that the file may be missing."""
    resume: Resume = Resume.AUTO
