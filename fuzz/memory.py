"""Where files take no time: nothing that is fuzzed asks whether they survive."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_SHARED: Final = Path("/dev/shm")

DIRECTORY: Final = _SHARED if _SHARED.is_dir() else None
"""For ``tempfile``; None for its default."""
