"""SCST's directory layout: which entries there are, and what reading and writing them means.

Each kind of directory is a tuple of rows over the core's objects; `scstfs.sysfs` is the mechanism.
A management command checks everything in SCST's order and with SCST's errnos, then changes
everything, and waits for running commands last.
"""

from __future__ import annotations

from scstfs.tree.root import Version, build

__all__ = ["Version", "build"]
