"""Bringing the tree of this process to a configuration before anybody is served."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from scstfs.admin import check, conf
from scstfs.admin import tree as trees
from scstfs.admin.attributes import MGMT
from scstfs.admin.configuration import Item
from scstfs.admin.describe import because, describe, refusal
from scstfs.admin.kinds import DEVICE, GROUP_DEVICE, LUN
from scstfs.admin.mistakes import at
from scstfs.admin.plan import Impossible, plan
from scstfs.admin.steps import Plan, Step, Write, hide
from scstfs.errors import ExitStatus, UsageError, reason
from scstfs.persist.running import TreeWrite
from scstfs.startup.nodes import NodeFiles, write
from scstfs.sysfs.node import Tree

log: Final = logging.getLogger(__name__)

_NO_SECRETS: Final = 3
"""The first words of a command: secrets are behind the name of a user, which is the third."""

OPTIONAL: Final = "-"
"""In front of the name of a configuration file that may be missing, as systemd writes it."""


def look(tree: Tree) -> Item:
    """The configuration of the tree now."""
    return trees.walk(NodeFiles(tree))


def commands(bare: Item, configuration: Item) -> list[TreeWrite]:
    """The commands that lead to a configuration from *bare*, a tree without any."""
    return _commands(plan(bare, configuration))


def _commands(made: Plan) -> list[TreeWrite]:
    actions = (step.action for step in made.steps)
    return [(action.path, action.data) for action in actions if isinstance(action, Write)]


async def load(tree: Tree, bare: Item, name: str) -> list[TreeWrite]:
    """Apply a configuration file to a tree without any configuration.

    Args:
        tree: that of this process.
        bare: what `look` says of it.
        name: of the file; with `OPTIONAL` in front it may be missing.

    Returns the commands that this took. Raises UsageError with a line for each mistake; the tree
    must not be used then.
    """
    path = name.removeprefix(OPTIONAL)
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError as error:
        if path != name:
            log.info("there is no %s: starting without a configuration", path)
            return []
        raise _mistakes([f"{path}: {reason(error)}"]) from error
    except OSError as error:
        raise _mistakes([f"{path}: {reason(error)}"]) from error
    parsed = conf.parse(text)
    errors = []
    for finding in check.check(parsed, bare):
        if finding.is_error:
            errors.append(f"{path}:{finding}")
        else:
            log.warning("%s:%s", path, finding)
    if errors:
        raise _mistakes(errors)
    try:
        made = plan(bare, parsed.configuration)
    except Impossible as error:
        raise _mistakes([at(path, error.line, error.message)]) from error
    refused = [at(path, line, message) for line, message in await _execute(tree, made.steps)]
    if refused:
        raise _mistakes(refused)
    log.info("%s is loaded", path)
    return _commands(made)


async def resume(tree: Tree, kept: Iterable[TreeWrite]) -> None:
    """Execute commands that were kept. Raises UsageError with a line for each that is refused."""
    refused = []
    for path, data in kept:
        try:
            await write(tree, path, data)
        except OSError as error:
            refused.append(f"cannot resume: {_shown(tree, path, data)} >{path}: {because(error)}")
    if refused:
        raise UsageError(ExitStatus.RESUME, "\n".join(refused))
    log.info("what ran before is resumed")


def _shown(tree: Tree, path: str, data: str) -> str:
    """A command without the secret that may be in it."""
    if path.rpartition("/")[2] == MGMT:
        return " ".join(data.split()[:_NO_SECRETS])
    try:
        is_private = NodeFiles(tree).is_private(path)
    except OSError:  # there is no such attribute
        is_private = True
    return hide(data.strip()) if is_private else data.strip()


async def _execute(tree: Tree, steps: Iterable[Step]) -> list[tuple[int, str]]:
    """Do all steps but those that come to nothing because of one that was refused."""
    refused: list[tuple[int, str]] = []
    failed: list[Item] = []
    for step in steps:
        if any(_needs(step.item, item) for item in failed):
            continue
        if not isinstance(step.action, Write):
            continue  # there is nothing yet that could be reset or closed
        try:
            await write(tree, step.action.path, step.action.data)
        except OSError as error:
            refused.append(refusal(step, error))
            failed.append(step.item)
        log.debug("%s", describe(step))
    return refused


def _needs(item: Item, other: Item) -> bool:
    """An item is in another one, or is about the device that the other one is."""
    if other.kind is DEVICE:
        if item.kind is LUN:
            return item.device == other.name
        if item.kind is GROUP_DEVICE:
            return item.name == other.name
    return item.path == other.path or item.path.startswith(f"{other.path}/")


def _mistakes(messages: list[str]) -> UsageError:
    return UsageError(ExitStatus.CONFIG, "\n".join(messages))
