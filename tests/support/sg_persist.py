"""sg_persist and sg_turs of sg3_utils for sessions in this process: their commands and output."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from typing import Final

from scstfs.local import LocalSession, Result
from scstfs.scsi.sense import decode
from scstfs.scsi.status import Status

_HEADER: Final = ["  SCST_FIO  disk1             3100", "  Peripheral device type: disk"]
_ALLOCATED: Final = 8192
_TEST_UNIT_READY: Final = bytes(6)
_IN, _OUT = 0x5E, 0x5F
_READS: Final = {"k": 0, "r": 1, "c": 2, "s": 3}
_WRITES: Final = {"register": 0, "reserve": 1, "clear": 3, "preempt": 4}
_TYPES: Final = {
    1: "Write Exclusive",
    3: "Exclusive Access",
    5: "Write Exclusive, registrants only",
    6: "Exclusive Access, registrants only",
    7: "Write Exclusive, all registrants",
    8: "Exclusive Access, all registrants",
}
#: In the order of printing: type, byte and bit of the type mask.
_MASK: Final = ((7, 4, 7), (6, 4, 6), (5, 4, 5), (3, 4, 3), (1, 4, 1), (8, 5, 0))
_CAPABILITIES: Final = (
    ("Replace Lost Reservation Capable(RLR_C)", 2, 7, 1),
    ("Compatible Reservation Handling(CRH)", 2, 4, 1),
    ("Specify Initiator Ports Capable(SIP_C)", 2, 3, 1),
    ("All Target Ports Capable(ATP_C)", 2, 2, 1),
    ("Persist Through Power Loss Capable(PTPL_C)", 2, 0, 1),
    ("Type Mask Valid(TMV)", 3, 7, 1),
    ("Allow Commands", 3, 4, 7),
    ("Persist Through Power Loss Active(PTPL_A)", 3, 0, 1),
)


def _number(data: bytes, start: int, end: int) -> int:
    return int.from_bytes(data[start:end], "big")


class SgUtils:
    """Runs commands on the sessions that ``devices`` names, all on LUN 0."""

    def __init__(self, devices: Mapping[str, LocalSession]) -> None:
        self._devices = devices
        #: Of the last command that changed reservations: the SCSI status.
        self.exit_status = 0
        self._parser = argparse.ArgumentParser()
        for option in ("in", "out", *_WRITES, "param-aptpl"):
            self._parser.add_argument(f"--{option}", action="store_true")
        for option in (*_READS, "H", "v"):
            self._parser.add_argument(f"-{option}", action="store_true")
        for option in ("param-rk", "param-sark", "prout-type"):
            self._parser.add_argument(f"--{option}", type=lambda text: int(text, 0), default=0)
        self._parser.add_argument("device")

    async def run(self, command: str) -> list[str]:
        """The lines that a command prints on standard output."""
        program, *words = shlex.split(command)
        options = vars(self._parser.parse_args(words))
        session = self._devices[options["device"]]
        if program == "sg_turs":
            return await self._test_unit_ready(session)
        if options["in"]:
            return [*_HEADER, *await self._read(session, options)]
        self.exit_status = await self._write(session, options)
        return list(_HEADER)

    async def _test_unit_ready(self, session: LocalSession) -> list[str]:
        sense = decode((await session.execute(0, _TEST_UNIT_READY)).sense)
        return [] if sense is None else ["sense " + " ".join(f"{part:x}" for part in sense.triple)]

    async def _write(self, session: LocalSession, options: Mapping[str, int]) -> int:
        action = next(code for name, code in _WRITES.items() if options[name])
        cdb = bytes((_OUT, action, options["prout_type"], 0, 0, 0, 0, 0, 24, 0))
        keys = b"".join(options[name].to_bytes(8, "big") for name in ("param_rk", "param_sark"))
        data = keys + bytes(4) + bytes((options["param_aptpl"], 0, 0, 0))
        return (await session.execute(0, cdb, data)).status

    async def _read(self, session: LocalSession, options: Mapping[str, int]) -> list[str]:
        kind = next(name for name in _READS if options[name])
        cdb = bytes((_IN, _READS[kind], 0, 0, 0, 0, 0)) + _ALLOCATED.to_bytes(2, "big") + b"\0"
        result: Result = await session.execute(0, cdb)
        assert result.status is Status.GOOD
        data = result.data
        if kind == "c":
            return _hex(data) if options["H"] else _capabilities(data)
        head = f"  PR generation=0x{_number(data, 0, 4):x}"
        body = data[8 : 8 + _number(data, 4, 8)]
        if options["H"]:
            return [f"{head}, Additional length={len(body)}", *_hex(body)]
        return {"k": _keys, "r": _reservation, "s": _status}[kind](head, body)


def _hex(data: bytes) -> list[str]:
    return [
        f" {start:02x}     "
        + "  ".join(data[at : at + 8].hex(" ") for at in (start, start + 8) if data[at : at + 8])
        for start in range(0, len(data), 16)
    ]


def _keys(head: str, body: bytes) -> list[str]:
    if not body:
        return [f"{head}, there are NO registered reservation keys"]
    keys = [f"    0x{_number(body, at, at + 8):x}" for at in range(0, len(body), 8)]
    return [f"{head}, {len(keys)} registered reservation key follows:", *keys]


def _reservation(head: str, body: bytes) -> list[str]:
    if not body:
        return [f"{head}, there is NO reservation held"]
    return [
        f"{head}, Reservation follows:",
        f"    Key=0x{_number(body, 0, 8):x}",
        f"    scope: LU_SCOPE,  type: {_TYPES[body[13]]}",
    ]


def _capabilities(data: bytes) -> list[str]:
    return [
        "Report capabilities response:",
        *(f"  {name}: {data[at] >> bit & mask}" for name, at, bit, mask in _CAPABILITIES),
        "    Support indicated in Type mask:",
        *(f"      {_TYPES[kind]}: {data[at] >> bit & 1}" for kind, at, bit in _MASK),
    ]


def _status(head: str, body: bytes) -> list[str]:
    lines = [head]
    if not body:
        lines.append("  No full status descriptors")
    while body:
        length = _number(body, 20, 24)
        lines.append(f"    Key=0x{_number(body, 0, 8):x}")
        lines.append(f"      All target ports bit {'set' if body[12] & 2 else 'clear'}")
        lines.append(f"      Relative port address: 0x{_number(body, 18, 20):x}")
        if body[12] & 1:
            lines.append("      << Reservation holder >>")
            lines.append(f"      scope: LU_SCOPE,  type: {_TYPES[body[13]]}")
        else:
            lines.append("      not reservation holder")
        lines.append("      Transport Id of initiator:")
        lines.append(f"        SAS address: 0x{body[28:36].hex()}")
        body = body[24 + length :]
    return lines
