"""Applies a configuration to the tree of this process before it serves initiators."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from scstfs.admin import check, conf
from scstfs.admin import tree as trees
from scstfs.admin.attributes import MGMT
from scstfs.admin.configuration import Item
from scstfs.admin.describe import because, describe, refusal
from scstfs.admin.initial_file import InitialFile
from scstfs.admin.kinds import DEVICE, GROUP_DEVICE, LUN
from scstfs.admin.mistakes import Mistake, at, limited
from scstfs.admin.plan import Impossible, plan
from scstfs.admin.steps import Plan, Step, Write, hide
from scstfs.errors import ExitStatus, UsageError
from scstfs.persist.running import TreeWrite
from scstfs.startup.nodes import NodeFiles, write
from scstfs.sysfs.node import Tree
from scstfs.sysfs.secrets_written import shown_command

log: Final = logging.getLogger(__name__)


def look(tree: Tree) -> Item:
    """The present configuration of the tree."""
    return trees.walk(NodeFiles(tree))


def commands(bare: Item, configuration: Item) -> list[TreeWrite]:
    """The commands that produce a configuration from *bare*, a tree without any."""
    return _commands(plan(bare, configuration))


def _commands(made: Plan) -> list[TreeWrite]:
    actions = (step.action for step in made.steps)
    return [(action.path, action.data) for action in actions if isinstance(action, Write)]


async def load(tree: Tree, bare: Item, file: InitialFile) -> list[TreeWrite]:
    """Apply a configuration file to a tree without any configuration.

    Args:
        tree: that of this process.
        bare: its configuration, from `look`.
        file: what to apply.

    Returns the commands executed. Raises UsageError with a line for each mistake; the tree must not
    be used then.
    """
    path = file.path
    try:
        text = file.text
    except Mistake as mistake:
        raise _mistakes(list(mistake.messages)) from mistake
    if text is None:
        log.info("there is no %s: starting without a configuration", path)
        return []
    parsed = conf.parse(text)
    errors = []
    for finding in check.check(parsed, bare):
        if finding.is_error:
            errors.append(finding.at(path))
        else:
            log.warning("%s", finding.at(path))
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
    """Execute recorded commands. Raises UsageError with a line for each that is refused."""
    refused = []
    for path, data in kept:
        try:
            await write(tree, path, data)
        except OSError as error:
            refused.append(f"cannot resume: {_shown(tree, path, data)} >{path}: {because(error)}")
    if refused:
        raise UsageError(ExitStatus.RESUME, "\n".join(refused))
    log.info("resuming the last configuration")


def _shown(tree: Tree, path: str, data: str) -> str:
    """A command without the secret that it may contain."""
    if path.rpartition("/")[2] == MGMT:
        return shown_command(data)
    try:
        is_private = NodeFiles(tree).is_private(path)
    except OSError:  # there is no such attribute
        is_private = True
    return hide(data.strip()) if is_private else data.strip()


async def _execute(tree: Tree, steps: Iterable[Step]) -> list[tuple[int, str]]:
    """Do all steps except those that depend on a refused one."""
    refused: list[tuple[int, str]] = []
    failed: list[Item] = []
    for step in steps:
        if any(_needs(step.item, item) for item in failed):
            continue
        if not isinstance(step.action, Write):
            continue  # there is nothing yet to reset or close
        try:
            await write(tree, step.action.path, step.action.data)
        except OSError as error:
            refused.append(refusal(step, error))
            failed.append(step.item)
        log.debug("%s", describe(step))
    return refused


def _needs(item: Item, other: Item) -> bool:
    """Return whether an item is in another one, or refers to the device of the other one."""
    if other.kind is DEVICE:
        if item.kind is LUN:
            return item.device == other.name
        if item.kind is GROUP_DEVICE:
            return item.name == other.name
    return item.path == other.path or item.path.startswith(f"{other.path}/")


def _mistakes(messages: list[str]) -> UsageError:
    return UsageError(ExitStatus.CONFIG, "\n".join(limited(messages)))
