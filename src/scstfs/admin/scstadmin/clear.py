"""-clear_config: remove everything that can be removed, and disable the rest."""

from __future__ import annotations

from scstfs.admin.configuration import Item
from scstfs.admin.kinds import (
    DEVICE,
    DEVICE_GROUP,
    DRIVER,
    ENABLED,
    GROUP,
    GROUP_DEVICE,
    HANDLER,
    TARGET,
    TARGET_GROUP,
)
from scstfs.admin.scstadmin.actions import Actions, names
from scstfs.admin.scstadmin.errors import Code
from scstfs.admin.scstadmin.present import is_virtual
from scstfs.admin.scstadmin.tree_lookup import Names


def clear(actions: Actions, current: Item) -> Code:
    """Remove everything that can be removed, and disable the rest."""
    library, out = actions.library, actions.terminal.out
    out("-> Clearing running configuration.\n")
    for name in sorted(current.of(DEVICE_GROUP)):
        group, known = current.of(DEVICE_GROUP)[name], names(device_group=name)
        for target_group in sorted(group.of(TARGET_GROUP)):
            actions.do("remove_target_group", names(known, target_group=target_group))
        for device in group.of(GROUP_DEVICE):
            actions.do("remove_group_device", names(known, device=device))
        actions.do("remove_device_group", known)
    for driver in sorted(current.of(DRIVER)):
        targets = current.of(DRIVER)[driver].of(TARGET)
        for name in sorted(targets):
            _clear_target(actions, targets[name], names(driver=driver, target=name))
        if library.takes_targets(driver):
            _clear_dynamic(actions, driver)
    for handler in sorted(current.of(HANDLER)):
        for device in current.of(HANDLER)[handler].of(DEVICE):
            actions.close_device(names(handler=handler, device=device), True)
    library.files.forget()
    for driver in library.drivers():
        for name in library.targets(driver):
            actions.enable(driver, name, "0")
        if ENABLED in library.attributes(DRIVER, names(driver=driver)):
            actions.set_dynamic(DRIVER, names(driver=driver), {ENABLED: "0"})
    out("\t-> Configuration cleared.\n")
    return Code.DONE


def _clear_target(actions: Actions, target: Item, known: Names) -> None:
    for group in sorted(target.of(GROUP)):
        in_group = names(known, group=group)
        actions.do("clear_initiators", in_group)
        actions.do("clear_luns", in_group)
        actions.do("remove_group", in_group)
    actions.do("clear_luns", known)
    if is_virtual(actions, known["driver"], known["target"]):
        actions.warn(actions.tried("remove_target", known).text)


def _clear_dynamic(actions: Actions, driver: str) -> None:
    actions.terminal.out(f"\t-> Removing all dynamic attributes from driver '{driver}': ")
    known = names(driver=driver)
    dynamic = actions.library.dynamic(DRIVER, driver)
    for attribute, found in actions.library.attributes(DRIVER, known).items():
        if attribute in dynamic:
            for value in found.keys.values():
                code = actions.execute(
                    "remove_driver_attribute", names(known, attribute=attribute, value=value)
                )
                actions.end_with(code.text)
    actions.terminal.out("done.\n")
