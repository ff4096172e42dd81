"""The command-line options of `scstfs mount`, and their defaults."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from pathlib import Path

from scstfs.admin.initial_file import InitialFile
from scstfs.capabilities import Capability
from scstfs.cluster.cluster_config import ClusterConfig
from scstfs.portals import ListenPortal
from scstfs.privileges import Account


class Resume(enum.StrEnum):
    """Whether to resume the last running configuration instead of loading a file."""

    AUTO = "auto"
    """After an unclean end."""
    NEVER = "never"
    ALWAYS = "always"


class IoEngine(enum.StrEnum):
    """What executes disk I/O (``scstfs.aio``)."""

    BEST = "best"
    """The first of the others that the system allows."""
    IO_URING = "io_uring"
    LIBAIO = "libaio"
    THREADS = "threads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The options of the command line."""

    mountpoint: str = "/sys/kernel/scst_tgt"
    state_dir: Path = Path("/var/lib/scst")
    portals: tuple[ListenPortal, ...] = ()
    """Where to listen; empty for all addresses."""
    pid_file: Path | None = Path("/run/iscsi-scstd.pid")
    """The default is that of SCST's iSCSI daemon, for scripts that signal it; None for no file."""
    config: InitialFile | None = None
    """The initial configuration."""
    resume: Resume = Resume.AUTO
    cluster: ClusterConfig | None = None
    """What other nodes are found by; None without any."""
    metrics: ListenPortal | None = None
    """Where metrics and the page are served; None for nowhere."""
    io_engine: IoEngine = IoEngine.BEST
    mounter: Path | None = None
    """The socket of the service that mounts, and writes the pid file; None does so itself."""
    account: Account | None = None
    """The user to serve as; None for the one who starts the program."""
    kept: frozenset[Capability] | None = None
    """Capabilities that are kept; None for those of `privileges.kept_by_default`."""

    @classmethod
    def of_user(cls) -> Config:
        """What root does without options, or an ordinary user, whose state is below their home."""
        if os.geteuid() == 0:
            return cls()
        home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        return cls(state_dir=Path(home, "scstfs"), pid_file=None)
