"""A recorded tree of the kernel's SCST, as a directory of ordinary files.

It is for programs that only read: a write changes only the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import recordings


def recorded_tree(name: str, dumps: int, directory: Path) -> Path:
    """Make the tree of the *dumps*-th dump of a recording; return its root."""
    entries: dict[str, dict[str, Any]] = {}
    changes = [record for record in recordings.load(name) if record.get("op") == "dump"]
    for record in changes[:dumps]:
        entries.update(record["changed"])
        for path in record["removed"]:
            entries.pop(path, None)
    root = directory / "scst_tgt"
    root.mkdir()
    for path, entry in sorted(entries.items()):
        place = root / path
        if "dir" in entry:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if "link" in entry:
            place.symlink_to(entry["link"])
        else:
            place.write_text(entry.get("text", ""))
            place.chmod(int(entry["file"], 8))
    return root
