"""Runs the README's quick start, line by line, in private namespaces: `make demo`.

It uses a private mount and network namespace, with copies of the root directory and of /etc in
memory. So the commands run as they are written, including /disk1 and port 3260, and leave nothing
behind. In between the daemon is stopped and started again; the disk must keep its contents.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from scstfs import mountpoint, mounts
from scstfs.mounts import MountFlag

README: Final = Path(__file__).resolve().parents[1] / "README.md"

_BLOCK: Final = re.compile(r"^```(console|conf)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PROMPT: Final = "# "
_CONFIG: Final = "/etc/scst.conf"
_DIRECTORIES: Final = ("root", "state")


def commands(text: str) -> list[list[str]]:
    """Return the command lines of each console block of the README."""
    return [
        [line.removeprefix(_PROMPT) for line in block.splitlines() if line.startswith(_PROMPT)]
        for kind, block in _BLOCK.findall(text)
        if kind == "console"
    ]


def configuration(text: str) -> str:
    """Return the configuration file of the README."""
    (block,) = (block for kind, block in _BLOCK.findall(text) if kind == "conf")
    return str(block)


def say(text: str) -> None:
    """Print the next action."""
    print(f"\n--- {text}", flush=True)


def type_in(lines: Sequence[str]) -> None:
    """Run command lines in one shell, each shown before it is run; the first failure ends it."""
    script = "\n".join(
        f"printf '%s\\n' {shlex.quote(_PROMPT + line)}\n{line} || exit" for line in lines
    )
    if subprocess.run(["bash", "-c", script], check=False).returncode != 0:
        raise SystemExit("a command of the README failed")


@contextlib.contextmanager
def served(state_dir: str, *options: str) -> Iterator[None]:
    """Run the daemon; at the end it must stop cleanly."""
    # The demo sees the machine's /run, and leaves it alone.
    argv = [sys.executable, "-m", "scstfs", "mount", "--state-dir", state_dir, "--pid-file", ""]
    argv += options
    print(_PROMPT + " ".join(["scstfs mount", *options]), flush=True)
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            for line in daemon.stderr or ():
                print(line, end="", flush=True)
                if ": ready: " in line:
                    break
            else:
                raise SystemExit("the daemon did not start")
            yield
        finally:
            started = time.monotonic()
            daemon.terminate()
            _, rest = daemon.communicate()
            print(rest, end="")
    seconds = time.monotonic() - started
    print(f"(the daemon ended with status {daemon.returncode} after {seconds:.2f} s)", flush=True)
    if daemon.returncode != 0:
        raise SystemExit("the daemon failed")


def copy_in_memory(source: str, target: str) -> None:
    """Make a directory whose top level is a copy."""
    mounts.mount("demo", target, "tmpfs", MountFlag.NONE, "mode=0755")
    mountpoint.mirror(source, target)


def enter_copy_of_root(root: str) -> None:
    """Mount copies of the root directory and of /etc, without the machine's own configuration."""
    copy_in_memory("/", root)
    copy_in_memory("/etc", f"{root}/etc")
    config = root + _CONFIG
    if os.path.lexists(config):
        if not os.path.islink(config):
            mounts.detach(config)
        os.unlink(config)
    os.chroot(root)
    os.chdir("/")


def inside(directory: str) -> None:
    """Run the demo in the namespaces that `main` made."""
    text = README.read_text()
    configure, use, save, apply = commands(text)
    root, state = (os.path.join(directory, name) for name in _DIRECTORIES)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    enter_copy_of_root(root)
    # The README assumes that scstfs is installed.
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    say("start the daemon")
    with served(state):
        say("configure it, as in the README")
        type_in(configure)
        say("look at it and use it, as in the README")
        type_in(use)
        say("put the configuration into a file, as in the README")
        type_in(save)
        say("stop it")
    say("start it again, with that configuration")
    with served(state, "--config", _CONFIG):
        say("the disk must still hold the image")
        type_in(use[-1:])
        say(f"another {_CONFIG}, as in the README")
        text = configuration(text)
        print(text, end="", flush=True)
        Path(_CONFIG).write_text(text)
        type_in(apply)
        say("stop it")


def main() -> None:
    """Make the namespaces and run the demo in them; nothing is left afterwards."""
    if len(sys.argv) == 3 and sys.argv[1] == "--inside":
        inside(sys.argv[2])
        return
    if os.geteuid() != 0:
        raise SystemExit("the demo must be run by root")
    with tempfile.TemporaryDirectory(prefix="scstfs-demo.") as directory:
        for name in _DIRECTORIES:
            os.mkdir(os.path.join(directory, name))
        argv = ["unshare", "--mount", "--net", sys.executable, __file__, "--inside", directory]
        status = subprocess.run(argv, check=False).returncode
    say("done" if status == 0 else "failed")
    sys.exit(status)


if __name__ == "__main__":
    main()
