"""Random valid configurations, as text of scst.conf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Final

from scstfs.admin import conf
from scstfs.admin.configuration import Item, Setting, empty
from scstfs.admin.kinds import (
    DEVICE,
    DEVICE_GROUP,
    DRIVER,
    GROUP,
    GROUP_DEVICE,
    GROUP_TARGET,
    HANDLER,
    INITIATOR,
    LUN,
    TARGET,
    TARGET_GROUP,
)

BACKING_FILES: Final = 4
MIB: Final = 1 << 20

Choices = Mapping[str, tuple[str, ...]]
"""Attributes, and values of them that are not the default."""

_ROOT: Final[Choices] = {
    "max_tasklet_cmd": ("11", "20"),
    "poll_us": ("5",),
    "setup_id": ("0x1234", "0x7"),
    "cluster_name": ("cluster", "a cluster"),
}
_ANY_DEVICE: Final[Choices] = {
    "max_tgt_dev_commands": ("7", "100"),
    "threads_num": ("3", "5"),
    "threads_pool_type": ("shared",),
    "numa_node_id": ("0",),
    "prod_id": ("a disk", "#1", "back\\slash", "DISK"),
    "t10_vend_id": ("ACME",),
    "prod_rev_lvl": ("2",),
    "scsi_device_name": ("naa.5000", "eui name"),
    "naa_id": ("0x5000000000000123", "0x60000000000000010000000000000002"),
    "inq_vend_specific": ("some bytes",),
}
_MADE_DISK: Final[Choices] = {
    "nv_cache": ("1",),
    "write_through": ("1",),
    "removable": ("1",),
    "rotational": ("0",),
    "read_only": ("1",),
    "thin_provisioned": ("0", "1"),
    "tst": ("0",),
    "blocksize": ("4096", "1024"),
}
_DISK: Final[Choices] = {"expl_alua": ("1",), "lb_per_pb_exp": ("0",)}
_NULL: Final[Choices] = {"size": ("10485760", "20971520"), "read_zero": ("1",), "dummy": ("1",)}
_TARGET: Final[Choices] = {
    "MaxBurstLength": ("524288", "262144"),
    "HeaderDigest": ("None,CRC32C", "CRC32C"),
    "InitialR2T": ("Yes",),
    "QueuedCommands": ("64", "8"),
    "NopInInterval": ("0", "10"),
    "alias": ("an alias", "alias"),
    "per_portal_acl": ("1",),
    "aen_disabled": ("1",),
    "comment": ("hello", "two words", "a # sign"),
    "addr_method": ("FLAT", "LUN"),
    "io_grouping_type": ("never", "3"),
}
_GROUP: Final[Choices] = {"addr_method": ("FLAT", "LUN"), "io_grouping_type": ("never", "3")}
_USERS: Final = ("joe 12charsecret", "jim 12charsecret", "ann other#secret1")
_OUTGOING: Final = "out 12charsecre2"
_INITIATORS: Final = ("iqn.*:special", "!iqn.no:*", "iqn.x:a", "iqn.x:b", "iqn.x:c?")


class _Maker:
    def __init__(self, random: Random, files: Path, local: bool) -> None:
        self.random = random
        self.files = files
        self.local = local

    def some(self, names: Iterable[str], least: int = 0) -> list[str]:
        """Some of the names, in any order."""
        pool = list(names)
        return self.random.sample(pool, self.random.randint(min(least, len(pool)), len(pool)))

    def set(self, item: Item, choices: Choices, chance: float = 0.3) -> None:
        for name, values in choices.items():
            if self.random.random() < chance:
                item.settings[name] = Setting([self.random.choice(values)])

    def set_all(self, item: Item, name: str, values: Iterable[str]) -> None:
        chosen = self.some(values)
        if chosen:
            item.settings[name] = Setting(chosen)

    def configuration(self) -> Item:
        root = empty()
        self.set(root, _ROOT)
        devices = self.devices(root)
        self.iscsi(root.add(DRIVER, "iscsi"), devices)
        if self.local:
            self.scst_local(root.add(DRIVER, "scst_local"), devices)
        self.device_groups(root, devices)
        return root

    def devices(self, root: Item) -> list[str]:
        names = []
        disks, nulls = root.add(HANDLER, "vdisk_fileio"), root.add(HANDLER, "vdisk_nullio")
        drives = root.add(HANDLER, "vcdrom")
        for number in range(self.random.randint(0, 5)):
            handler, make = self.random.choice(
                ((disks, self.disk), (disks, self.disk), (nulls, self.null), (drives, self.drive))
            )
            device = handler.add(DEVICE, f"dev{number}")
            make(device)
            self.set(device, _ANY_DEVICE, 0.15)
            if self.random.random() < 0.3:
                device.settings["usn"] = Setting([f"serial{number}"])
            if self.random.random() < 0.3:
                device.settings["t10_dev_id"] = Setting([f"id of {number}"])
            names.append(device.name)
        return names

    def disk(self, device: Item) -> None:
        path = self.files / f"disk{self.random.randrange(BACKING_FILES)}"
        device.settings["filename"] = Setting([str(path)])
        self.set(device, _MADE_DISK, 0.2)
        self.set(device, _DISK, 0.2)
        # Contradictory settings are refused.
        for one, other in (
            ("nv_cache", "write_through"),
            ("read_only", "nv_cache"),
            ("read_only", "write_through"),
            ("read_only", "thin_provisioned"),
        ):
            if {one, other} <= device.settings.keys():
                del device.settings[other]

    def null(self, device: Item) -> None:
        self.set(device, _NULL, 0.5)

    def drive(self, device: Item) -> None:
        if self.random.random() < 0.5:
            device.settings["filename"] = Setting([str(self.files / "disk0")])

    def iscsi(self, driver: Item, devices: list[str]) -> None:
        self.set_all(driver, "IncomingUser", _USERS)
        if self.random.random() < 0.3:
            driver.settings["OutgoingUser"] = Setting([_OUTGOING])
        if self.random.random() < 0.3:
            driver.settings["link_local"] = Setting(["0"])
        if self.random.random() < 0.7:
            driver.settings["enabled"] = Setting(["1"])
        for number in range(self.random.randint(0, 3)):
            target = driver.add(TARGET, f"iqn.2006-10.net.example:t{number}")
            self.set(target, _TARGET)
            self.set_all(target, "IncomingUser", _USERS)
            self.set_all(target, "allowed_portal", ("127.0.0.1", "::1", "10.*"))
            target.settings["enabled"] = Setting([self.random.choice("01")])
            if target.settings["enabled"].values == ["1"] or self.random.random() < 0.3:
                target.settings["rel_tgt_id"] = Setting([str(number + 1)])
            self.luns_and_groups(target, devices)

    def scst_local(self, driver: Item, devices: list[str]) -> None:
        for number in range(self.random.randint(0, 2)):
            target = driver.add(TARGET, f"local{number}")
            if self.random.random() < 0.7:
                target.settings["session_name"] = Setting([f"session{number}"])
            self.luns_and_groups(target, devices)

    def luns_and_groups(self, target: Item, devices: list[str]) -> None:
        self.luns(target, devices)
        free = list(_INITIATORS)
        self.random.shuffle(free)
        for name in self.some(("red", "green", "blue")):
            group = target.add(GROUP, name)
            self.set(group, _GROUP)
            self.luns(group, devices)
            for _ in range(self.random.randint(0, 2)):
                if free:
                    group.add(INITIATOR, free.pop())

    def luns(self, holder: Item, devices: list[str]) -> None:
        for number in self.some(("0", "1", "2", "10", "300")):
            if not devices:
                return
            lun = holder.add(LUN, number)
            lun.device = self.random.choice(devices)
            if self.random.random() < 0.2:
                lun.settings["read_only"] = Setting(["1"])

    def device_groups(self, root: Item, devices: list[str]) -> None:
        free = self.some(devices)
        targets = [t.name for d in root.of(DRIVER).values() for t in d.of(TARGET).values()]
        for name in self.some(("dg1", "dg2")):
            group = root.add(DEVICE_GROUP, name)
            for _ in range(self.random.randint(0, 2)):
                if free:
                    group.add(GROUP_DEVICE, free.pop())
            there = [*self.some(targets), *self.some(("elsewhere1", "elsewhere2"))]
            for number, group_name in enumerate(self.some(("tg1", "tg2", "tg3"))):
                target_group = group.add(TARGET_GROUP, group_name)
                target_group.settings["group_id"] = Setting([str(number + 1)])
                state = self.random.choice(("active", "nonoptimized", "standby"))
                target_group.settings["state"] = Setting([state])
                if self.random.random() < 0.3:
                    target_group.settings["preferred"] = Setting(["1"])
                for _ in range(self.random.randint(0, 2)):
                    if there:
                        self.group_target(target_group, there.pop(), number)

    def group_target(self, target_group: Item, name: str, number: int) -> None:
        target = target_group.add(GROUP_TARGET, name)
        if name.startswith("elsewhere"):
            target.settings["rel_tgt_id"] = Setting([str(100 + number)])


def backing_files(directory: Path) -> None:
    """Make the files that random configurations use."""
    for number in range(BACKING_FILES):
        with (directory / f"disk{number}").open("wb") as file:
            file.truncate(MIB)


def random_configuration(seed: int, files: Path, *, local: bool = False) -> Item:
    """A configuration; *local* with targets of scst_local, too."""
    return _Maker(Random(seed), files, local).configuration()


def random_text(seed: int, files: Path, *, local: bool = False) -> str:
    """The same as text."""
    return conf.render(random_configuration(seed, files, local=local))
