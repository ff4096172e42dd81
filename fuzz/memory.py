"""A directory in memory, where files are fast: fuzzing needs no durability."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_SHARED: Final = Path("/dev/shm")

DIRECTORY: Final = _SHARED if _SHARED.is_dir() else None
"""For ``tempfile``; None for its default."""
