"""Makes docs/picture.svg, the README's picture of a terminal: `make picture`.

It types commands into a sandbox, which needs no root and changes nothing on the machine, and draws
what came back. Nothing is drawn that did not happen.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE: Final = Path(__file__).resolve().parents[1] / "docs" / "picture.svg"

COMMANDS: Final = (
    "truncate --size=1G disk1",
    "cd /sys/kernel/scst_tgt",
    'echo "add_device disk1 filename=$HOME/disk1" >handlers/vdisk_fileio/mgmt',
    'echo "add_target iqn.2026-01.com.example:storage" >targets/iscsi/mgmt',
    'echo "add disk1 0" >targets/iscsi/iqn.2026-01.com.example:storage/luns/mgmt',
    "echo 1 >targets/iscsi/iqn.2026-01.com.example:storage/enabled",
    "echo 1 >targets/iscsi/enabled",
    "iscsi-ls --show-luns iscsi://$SCSTFS_PORTAL",
    "qemu-io -f raw -c 'write -P 7 0 64k' iscsi://$SCSTFS_PORTAL/iqn.2026-01.com.example:storage/0",
    "scstfs status",
)

_WIDTH: Final = 100
_PROMPT: Final = "\x1b[1;32m#\x1b[0m "
# The fonts of a server elsewhere; browsers take one of the machine instead.
_FONTS: Final = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


def session() -> str:
    """What a terminal shows of the commands, with its escape sequences."""
    lines = "\n".join(
        f"printf '%s%s\\n' {_quoted(_PROMPT)} {_quoted(line)}\n{line} || exit" for line in COMMANDS
    )
    with tempfile.TemporaryDirectory(prefix="scstfs-picture.") as home:
        script = Path(home, "script")
        script.write_text(lines)
        environment = {
            **os.environ,
            "COLUMNS": str(_WIDTH),
            "FORCE_COLOR": "1",
            "HOME": home,
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [sys.executable, "-m", "scstfs", "sandbox", "bash", str(script)],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise SystemExit(f"a command failed:\n{done.stdout}")
    # The machine's own names are of no interest.
    return f"\x1b[1;32m$\x1b[0m scstfs sandbox\n{done.stdout.replace(home, '/home/joe')}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def drawn(shown: str) -> str:
    """The picture of a terminal."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=_WIDTH, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(shown))
        picture = console.export_svg(title="scstfs", theme=MONOKAI, unique_id="scstfs")
    return _FONTS.sub("", picture)


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    place.write_text(drawn(session()))
