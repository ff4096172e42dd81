"""usage: session.py TARGET

An initiator that writes and reads LUN 0 of a target at 127.0.0.1 all the time, in one session,
until its standard input is closed. Then it prints how many blocks it has verified. At first it
registers a persistent reservation key, which shall survive. If anything fails, it ends with a
traceback.
"""

from __future__ import annotations

import select
import struct
import sys
from typing import Final

from tests.support.initiator import Initiator, Task
from tests.support.reservations import APTPL, IGNORE, KEYS, pr_in, pr_out

KEY: Final = 0x5C57F5
_BLOCK: Final = 512
_PAUSE: Final = 0.01
_PATIENCE: Final = 30.0


def log_in(target: str) -> Initiator:
    """Open a session whose unit attentions are fetched."""
    initiator = Initiator.connect("127.0.0.1", 3260, timeout=_PATIENCE)
    initiator.login(target)
    while initiator.command(bytes(6)).status:
        pass
    return initiator


def _done(task: Task) -> Task:
    assert task.status == 0, task.sense.hex()
    return task


def keys(initiator: Initiator) -> list[int]:
    """The registered reservation keys."""
    data = _done(initiator.command(pr_in(KEYS), expect=4096)).data
    return [key for (key,) in struct.iter_unpack(">Q", data[8:])]


def main(target: str) -> None:
    """See the module."""
    initiator = log_in(target)
    cdb, data = pr_out(IGNORE, new=KEY, flags=APTPL)
    _done(initiator.command(cdb, data_out=data))
    print("ready", flush=True)
    number = 0
    while not select.select([sys.stdin], [], [], _PAUSE)[0]:
        block = struct.pack(">Q", number) * (_BLOCK // 8)
        lba = struct.pack(">IxHx", number % 1024, 1)
        _done(initiator.command(b"\x2a\0" + lba, data_out=block))
        assert _done(initiator.command(b"\x28\0" + lba, expect=_BLOCK)).data == block
        number += 1
    initiator.logout()
    print(number)


if __name__ == "__main__":
    main(*sys.argv[1:])
