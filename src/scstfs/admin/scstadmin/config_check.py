"""scstadmin's checks of a configuration file before it applies it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from scstfs.admin.configuration import Item
from scstfs.admin.kinds import (
    DEVICE,
    DEVICE_GROUP,
    DRIVER,
    GROUP,
    GROUP_DEVICE,
    HANDLER,
    INITIATOR,
    INTERNAL_DRIVER,
    LUN,
    TARGET,
)
from scstfs.admin.scstadmin.errors import Stop
from scstfs.admin.scstadmin.tree_lookup import TreeLookup

_NO_DRIVERS: Final = "No TARGET_DRIVER section defined. No target drivers will be configured."
_NO_HANDLERS: Final = (
    "No HANDLER section defined. Only physical media will be configured for targets."
)
_LUN_0: Final = "Many initiators require a LUN 0 to be defined."


class ConfigCheck:
    """Checks a configuration, and removes impossible items with a message."""

    def __init__(self, library: TreeLookup, current: Item, configuration: Item) -> None:
        self.library = library
        self.current = current
        self.configuration = configuration
        self.warnings = 0
        self.errors = 0

    def lines(self) -> Iterator[str]:
        """Return the output; `errors` then tells whether the file can be applied."""
        configuration = self.configuration
        if not configuration.settings and not configuration.items:
            yield "-> WARNING: Configuration is empty or unreadable, aborting.\n\n"
            raise Stop("", 0)
        if not configuration.of(DRIVER):
            yield self._warning(_NO_DRIVERS)
        if not configuration.of(HANDLER):
            yield self._warning(_NO_HANDLERS)
        if not configuration.of(DRIVER) and not configuration.of(HANDLER):
            self.errors += 1
            yield "FATAL: No target drivers or handlers defined, aborting!\n"
        for driver in configuration.of(DRIVER).values():
            yield from self._driver(driver)
        known: set[str] = set()
        for handler in sorted(configuration.of(HANDLER)):
            yield from self._handler(handler, known)
        for driver in configuration.of(DRIVER).values():
            for target in driver.of(TARGET).values():
                where = f"{driver.name}/{target.name}"
                yield from self._luns(target, where, "driver/target", known)
                for group in target.of(GROUP).values():
                    inner = f"{where}/{group.name}"
                    yield from self._luns(group, inner, "driver/target/group", known)
        yield from self._device_groups(known)
        if self.errors:
            yield f"\t-> Done, {self.errors} errors found.\n"
        else:
            yield f"\t-> Done, {self.warnings} warnings found.\n\n"

    def _warning(self, text: str, end: str = "\n\n") -> str:
        self.warnings += 1
        return f"\t-> WARNING: {text}{end}"

    def _fatal(self, text: str) -> str:
        self.errors += 1
        return f"\t-> FATAL: {text}\n"

    def _driver(self, driver: Item) -> Iterator[str]:
        name = driver.name
        current = self.current.item(DRIVER, name)
        if current is None:
            yield self._warning(f"Target driver '{name}' is not loaded or available.")
            return
        if not driver.of(TARGET):
            yield self._warning(f"Driver '{name}' has no configured targets.")
        for target in driver.of(TARGET).values():
            seen = set()
            for group in target.of(GROUP).values():
                for initiator in group.of(INITIATOR):
                    if initiator in seen:
                        yield self._fatal(
                            f"Initiator '{initiator}' belongs to more than one group.\n\t     "
                            "Initiators can only belong to one group at a time for a given target."
                        )
                    seen.add(initiator)
            if target.name not in current.of(TARGET) and not self.library.takes_targets(name):
                yield self._fatal(f"Target '{target.name}' for driver '{name}' does not exist.")

    def _handler(self, name: str, known: set[str]) -> Iterator[str]:
        handlers = self.configuration.of(HANDLER)
        if name not in self.library.handlers():
            del handlers[name]
            yield self._warning(f"No such handler '{name}' available, ignoring.", "\n")
            return
        devices = handlers[name].of(DEVICE)
        for device in sorted(devices):
            if device.startswith("/dev/"):
                right = device.removeprefix("/dev/")
                devices[right] = devices.pop(device)
                devices[right].name = right
                yield self._warning(
                    f"Device '{device}' configured for handler '{name}' may not contain the full "
                    f"/dev path, please change to '{right}'."
                )
            elif "/" in device:
                yield self._fatal(
                    f"Device '{device}' configured for handler '{name}' may not contain "
                    "character '/'."
                )
            known.add(device)

    def _luns(self, holder: Item, where: str, what: str, known: set[str]) -> Iterator[str]:
        luns = holder.of(LUN)
        if LUN not in holder.items:
            return
        for number, lun in list(luns.items()):
            if lun.device and lun.device not in known:
                del luns[number]
                target = where.rpartition("/")[0] if holder.kind is GROUP else where
                yield self._warning(
                    f"Device '{lun.device}' associated with driver/target '{target}' at LUN "
                    f"{number} is not defined within configuration, removing it."
                )
        # The copy manager manages its own LUNs; groups of its target are not checked.
        if "0" not in luns and (
            holder.kind is GROUP or not where.startswith(f"{INTERNAL_DRIVER}/")
        ):
            yield self._warning(f"No LUN 0 defined for {what} '{where}'. {_LUN_0}")

    def _device_groups(self, known: set[str]) -> Iterator[str]:
        for group in self.configuration.of(DEVICE_GROUP).values():
            devices = group.of(GROUP_DEVICE)
            for device in [name for name in devices if name not in known]:
                del devices[device]
                yield self._warning(
                    f"Device '{device}' associated with device group '{group.name}' is not "
                    "defined within configuration, removing it."
                )
