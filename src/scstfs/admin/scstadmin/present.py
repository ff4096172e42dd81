"""Comparison of the tree and a file."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from scstfs.admin import tree
from scstfs.admin.attributes import Attributes
from scstfs.admin.configuration import Item
from scstfs.admin.kinds import DRIVER, GROUP, HARDWARE, INITIATOR, TARGET
from scstfs.admin.scstadmin.actions import Actions, Values, names
from scstfs.admin.scstadmin.errors import Stop, Unavailable, fatal, unreadable
from scstfs.admin.scstadmin.tree_lookup import number


def working_configuration(actions: Actions, force: bool) -> Item:
    """Read the tree, without attributes, with a message.

    Ends the program if an initiator is in several groups of a target, unless *force* is given.
    """
    out = actions.terminal.out
    out("\nCollecting current configuration: ")
    actions.library.files.forget()
    try:
        current = tree.structure(actions.library.files)
    except OSError as error:
        raise unreadable(error) from None
    out("done.\n\n")
    for driver in current.of(DRIVER).values():
        for target in driver.of(TARGET).values():
            seen = set()
            for group in target.of(GROUP).values():
                for initiator in group.of(INITIATOR):
                    if initiator in seen and not force:
                        raise Stop(
                            f"\t-> FATAL: Initiator '{initiator}' belongs to more than one "
                            f"groups for driver/target '{driver.name}/target', aborting. "
                            "Use -force to override.\n"
                        )
                    seen.add(initiator)
    return current


def values_of(item: Item) -> dict[str, str | list[str]]:
    """The settings of an item, to be set. Ends the program if one has no value."""
    values: dict[str, str | list[str]] = {}
    for name, setting in item.settings.items():
        if not setting.values:
            values[name] = ""
        elif len(setting.values) > 1:
            values[name] = setting.values
        elif setting.nested:
            raise fatal(
                f"Invalid configuration encountered. Attribute '{name}' has an invalid value."
            )
        else:
            values[name] = setting.values[0]
    return values


def split(values: Values, known: Collection[str]) -> tuple[dict[str, str], Values]:
    """Parameters of the command that makes an object, and settings after it is made."""
    made = {n: v if isinstance(v, str) else v[0] for n, v in values.items() if n in known}
    return made, {name: value for name, value in values.items() if name not in known}


def differs(wanted: Mapping[str, str], live: Attributes, known: Collection[str]) -> bool:
    """Return whether an object was made with other parameters than wanted now."""
    for name, value in wanted.items():
        attribute = live.get(name)
        present = None
        if attribute is not None and name in known:
            present = attribute.keys.get("0") if attribute.is_key else attribute.value
        if present is None and not number(value):
            continue
        if present != value:
            return True
    return any(
        attribute.is_key and name in known and name not in wanted
        for name, attribute in live.items()
    )


def is_virtual(actions: Actions, driver: str, target: str) -> bool:
    """Return whether a target was made by a command, and can be removed by one."""
    if not actions.library.takes_targets(driver):
        return False
    try:
        found = actions.library.attributes(TARGET, names(driver=driver, target=target))
    except Unavailable:
        return True
    return HARDWARE not in found or found[HARDWARE].value != "1"
