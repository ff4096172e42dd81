"""scstfs: SCST's SCSI target in user space, configured through the tree at /sys/kernel/scst_tgt."""

from __future__ import annotations

from typing import Final

__version__: Final = "1.0.0rc1"
