"""After a change has been answered, no program sees the old state: the kernel keeps no stale name.

One process changes the tree in every way there is, and counts: an odd number while a change is
under way, an even one when it has been answered. Others look at the tree all the time. Where the
number was even and the same before and after a look, what was seen must be what the last change
left behind.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import random
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.support.initiator import Initiator
from tests.support.iscsi_login import NAME as INITIATOR
from tests.support.namespace import fork
from tests.support.needs import need_mounts
from tests.support.served import DIRECTORY, TARGET, Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LOOKS: Final = int(os.environ.get("SCSTFS_STALE_LOOKS", "100000"))
LOOKERS: Final = 2
OTHER: Final = "iqn.2005-03.org.example:other"
GROUP: Final = f"{DIRECTORY}/ini_groups/g"
DEVICE_GROUP: Final = "device_groups/dg"
TARGET_GROUP: Final = f"{DEVICE_GROUP}/target_groups/tg"


@dataclass
class Step:
    """A change: a write, or an action of an initiator, and the state afterwards."""

    file: str
    text: str
    appears: dict[str, str] = field(default_factory=dict)
    """Paths that exist from now on, with the text of links and "" for all else."""
    vanishes: tuple[str, ...] = ()
    """These and all that is below them."""
    refused: bool = False


def device(name: str, handler: str) -> dict[str, str]:
    return {
        f"devices/{name}": "",
        f"devices/{name}/type": "",
        f"devices/{name}/exported": "",
        f"devices/{name}/handler": f"../../handlers/{handler}",
        f"handlers/{handler}/{name}": f"../../devices/{name}",
    }


def lun(directory: str, number: int, name: str, export: str) -> dict[str, str]:
    up = "../" * (directory.count("/") + 2)
    return {
        f"{directory}/{number}": "",
        f"{directory}/{number}/read_only": "",
        f"{directory}/{number}/device": f"{up}devices/{name}",
        f"devices/{name}/exported/{export}": f"../../../{directory}/{number}",
    }


def target(name: str) -> dict[str, str]:
    base = f"targets/iscsi/{name}"
    return dict.fromkeys((base, f"{base}/luns", f"{base}/ini_groups", f"{base}/tid"), "")


STEPS: Final = (
    Step("handlers/vdisk_nullio/mgmt", "add_device a", device("a", "vdisk_nullio")),
    Step("handlers/vdisk_nullio/mgmt", "add_device a", refused=True),
    Step("handlers/vcdrom/mgmt", "add_device c", device("c", "vcdrom")),
    Step("handlers/vdisk_fileio/mgmt", "add_device f filename=/nowhere", refused=True),
    Step("targets/iscsi/mgmt", f"add_target {OTHER}", target(OTHER)),
    Step(
        "targets/iscsi/mgmt",
        f"add_target_attribute {OTHER} IncomingUser u secretsecret12",
        {f"targets/iscsi/{OTHER}/IncomingUser": ""},
    ),
    Step(
        "targets/iscsi/mgmt",
        f"add_target_attribute {OTHER} IncomingUser v secretsecret12",
        {f"targets/iscsi/{OTHER}/IncomingUser1": ""},
    ),
    Step(
        "targets/iscsi/mgmt",
        f"del_target_attribute {OTHER} IncomingUser u",
        vanishes=(f"targets/iscsi/{OTHER}/IncomingUser",),
    ),
    Step(
        "targets/iscsi/mgmt",
        "add_attribute OutgoingUser w secretsecret12",
        {"targets/iscsi/OutgoingUser": ""},
    ),
    Step(
        "targets/iscsi/mgmt",
        "del_attribute OutgoingUser w",
        vanishes=("targets/iscsi/OutgoingUser",),
    ),
    Step(f"{DIRECTORY}/luns/mgmt", "add a 1", lun(f"{DIRECTORY}/luns", 1, "a", "export1")),
    Step(f"{DIRECTORY}/luns/mgmt", "add a 1", refused=True),
    Step(
        f"{DIRECTORY}/luns/mgmt",
        "replace c 1",
        lun(f"{DIRECTORY}/luns", 1, "c", "export1"),
        vanishes=("devices/a/exported/export1",),
    ),
    Step(f"{DIRECTORY}/ini_groups/mgmt", "create g", {GROUP: "", f"{GROUP}/luns": ""}),
    Step(f"{DIRECTORY}/ini_groups/mgmt", "create g", refused=True),
    Step(f"{GROUP}/luns/mgmt", "add a 0", lun(f"{GROUP}/luns", 0, "a", "export2")),
    Step(f"{GROUP}/initiators/mgmt", f"add {INITIATOR}", {f"{GROUP}/initiators/{INITIATOR}": ""}),
    Step(f"{GROUP}/initiators/mgmt", "add x*", {f"{GROUP}/initiators/x*": ""}),
    Step("log in", "", {f"{DIRECTORY}/sessions/{INITIATOR}": ""}),
    Step(
        f"{GROUP}/luns/mgmt",
        "add c 7",
        {
            **lun(f"{GROUP}/luns", 7, "c", "export2"),
            f"{DIRECTORY}/sessions/{INITIATOR}/lun7": "",
        },
    ),
    Step(
        f"{GROUP}/initiators/mgmt",
        "clear",
        vanishes=(
            f"{GROUP}/initiators/{INITIATOR}",
            f"{GROUP}/initiators/x*",
            f"{DIRECTORY}/sessions/{INITIATOR}/lun7",
        ),
    ),
    Step("log out", "", vanishes=(f"{DIRECTORY}/sessions/{INITIATOR}",)),
    Step(
        f"{GROUP}/luns/mgmt",
        "clear",
        vanishes=(
            f"{GROUP}/luns/0",
            f"{GROUP}/luns/7",
            "devices/a/exported/export2",
            "devices/c/exported/export2",
        ),
    ),
    Step("device_groups/mgmt", "create dg", {DEVICE_GROUP: "", f"{DEVICE_GROUP}/devices": ""}),
    Step(
        f"{DEVICE_GROUP}/devices/mgmt",
        "add a",
        {f"{DEVICE_GROUP}/devices/a": "../../../devices/a"},
    ),
    Step(f"{DEVICE_GROUP}/target_groups/mgmt", "create tg", {TARGET_GROUP: ""}),
    Step(
        f"{TARGET_GROUP}/mgmt",
        f"add {TARGET}",
        {f"{TARGET_GROUP}/{TARGET}": f"../../../../targets/iscsi/{TARGET}"},
    ),
    Step(f"{TARGET_GROUP}/mgmt", "add elsewhere", {f"{TARGET_GROUP}/elsewhere": ""}),
    Step(f"{TARGET_GROUP}/mgmt", "del elsewhere", vanishes=(f"{TARGET_GROUP}/elsewhere",)),
    Step("device_groups/mgmt", "del dg", vanishes=(DEVICE_GROUP,)),
    Step(f"{DIRECTORY}/ini_groups/mgmt", "del g", vanishes=(GROUP,)),
    Step("targets/iscsi/mgmt", f"del_target {OTHER}", vanishes=(f"targets/iscsi/{OTHER}",)),
    # With all that is below, and its LUN.
    Step(
        "handlers/vcdrom/mgmt",
        "del_device c",
        vanishes=("devices/c", "handlers/vcdrom/c", f"{DIRECTORY}/luns/1"),
    ),
    Step(
        "handlers/vdisk_nullio/mgmt",
        "del_device a",
        vanishes=("devices/a", "handlers/vdisk_nullio/a"),
    ),
    # The same name for something else.
    Step("handlers/vcdrom/mgmt", "add_device a", device("a", "vcdrom")),
    Step("handlers/vcdrom/mgmt", "del_device a", vanishes=("devices/a", "handlers/vcdrom/a")),
)


def states() -> list[dict[str, str | None]]:
    """The state before each step: the text of links, "" for others, None for missing ones."""
    paths = {path for step in STEPS for path in step.appears}
    state: dict[str, str | None] = dict.fromkeys(paths)
    result = []
    for step in STEPS:
        result.append(dict(state))
        for path in paths:
            if any(path == gone or path.startswith(f"{gone}/") for gone in step.vanishes):
                state[path] = None
        state |= step.appears
    assert state == result[0], "the last step must leave what the first one found"
    return result


class Clock:
    """Numbers that all processes share: of changes, and of what each looker has seen."""

    DONE: Final = 1 << 63

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 8 * (1 + LOOKERS))).cast("Q")

    @property
    def now(self) -> int:
        """How often `tick` was called: odd while a change is under way."""
        return self._numbers[0]

    def tick(self) -> None:
        self._numbers[0] += 1

    def done(self, looker: int) -> None:
        self._numbers[1 + looker] = self.DONE

    @property
    def all_done(self) -> bool:
        return all(number == self.DONE for number in self._numbers[1:])


def look(root: int, path: str) -> str | None:
    """What is at *path*: the text of a link, "" for all else, None for nothing."""
    try:
        os.stat(path, dir_fd=root, follow_symlinks=False)
        return os.readlink(path, dir_fd=root)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return ""


def listed(root: int, path: str) -> bool:
    """Whether the directory of *path* lists it."""
    directory, _, name = path.rpartition("/")
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    except FileNotFoundError:
        return False
    try:
        return name in os.listdir(descriptor)
    finally:
        os.close(descriptor)


def keep_looking(root: int, clock: Clock, looker: int) -> None:
    try:
        look_often(root, clock, looker)
    finally:
        clock.done(looker)


def look_often(root: int, clock: Clock, seed: int) -> None:
    """Read random paths until enough undisturbed reads were made."""
    choice, expected = random.Random(seed), states()
    paths = sorted(expected[0])
    seen = 0
    while seen < LOOKS // LOOKERS:
        path, lists = choice.choice(paths), choice.random() < 0.1
        before = clock.now
        found = listed(root, path) if lists else look(root, path)
        if before % 2 or clock.now != before:
            continue
        step = before // 2 % len(STEPS)
        right: object = expected[step][path]
        if lists:
            right = right is not None
        assert found == right, f"{path} before step {step}, {STEPS[step]}: {found!r}"
        seen += 1


def change(served: Served, session: list[Initiator], step: Step) -> None:
    if step.file == "log in":
        session.append(served.log_in())
    elif step.file == "log out":
        with session.pop() as initiator:
            initiator.logout()
    elif step.refused:
        with pytest.raises(OSError, match="Errno"):
            served.write(step.file, step.text)
    else:
        served.write(step.file, step.text)


def test_what_was_before_a_change_is_never_seen_after_it(tmp_path: Path) -> None:
    need_mounts()
    with Served(tmp_path) as served:
        served.add_target(size=1 << 20)
        clock, session = Clock(), list[Initiator]()
        root = os.open(served.path, os.O_RDONLY | os.O_DIRECTORY)
        lookers = [fork(partial(keep_looking, root, clock, number)) for number in range(LOOKERS)]
        steps = itertools.cycle(STEPS)
        while not clock.all_done:
            began = time.monotonic()
            clock.tick()
            change(served, session, next(steps))
            clock.tick()
            # Long enough for looks in between: they fill the kernel's memory with what is now. A
            # change takes as long as the state directory's disk needs.
            time.sleep(max(0.0005, time.monotonic() - began))
        os.close(root)
        for initiator in session:  # the last step may have been a login
            initiator.close()
        failures = [looker() for looker in lookers]
    assert not any(failures), next(filter(None, failures))
