"""Simulated SCSI devices of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Machine:
    """The part of /sys for SCSI devices."""

    root: Path

    @property
    def scsi_devices(self) -> Path:
        return self.root / "class/scsi_device"

    def plug(self, address: str, kind: int, place: str) -> None:
        device = self.root / "devices" / place / address
        entry = device / "scsi_device" / address
        entry.mkdir(parents=True)
        (entry / "device").symlink_to(f"../../../{address}")
        (device / "type").write_text(f"{kind}\n")
        (device / "vendor").write_text("Linux   \n")
        (device / "model").write_text("scsi_debug      \n")
        (device / "rev").write_text("0191\n")
        self.scsi_devices.mkdir(parents=True, exist_ok=True)
        (self.scsi_devices / address).symlink_to(entry)

    def unplug(self, address: str) -> None:
        (self.scsi_devices / address).unlink()
