"""Executes a plan: all of it, or nothing.

Each step done goes into a journal together with its undo actions. When a step is refused, the
journal is undone in reverse. Some refusals only mean that something else must be removed first:
then the plan is made again with that knowledge (`plan.Options`).
"""

from __future__ import annotations

import dataclasses
import errno
import os
import time
from collections.abc import Callable
from typing import Final

from scstfs.admin import tree
from scstfs.admin.configuration import Item
from scstfs.admin.describe import because, describe, refusal
from scstfs.admin.files import Files
from scstfs.admin.kinds import DEVICE, ENABLED, TARGET
from scstfs.admin.plan import Options, plan
from scstfs.admin.steps import Action, CloseSessions, Plan, Reset, Step, StepPhase, Verb, Write

FORCE_CLOSE: Final = "force_close"

CLOSE_SECONDS: Final = 30.0
"""Seconds that sessions may take to end."""

_POLL_SECONDS: Final = 0.02
_MOST_ATTEMPTS: Final = 30

_IN_THE_WAY: Final = frozenset({errno.EEXIST, errno.EBUSY, errno.EBADSLT, errno.ENOSPC})
"""Refusals that may be due to something that will be removed."""

ReportProgress = Callable[[int, int, Step], None]
"""Called before each step with the number of steps done, the number of all steps, and the step."""


class StepRefused(Exception):  # noqa: N818 - a decision of the tree
    """A step was refused.

    Attributes:
        step: which.
        error: why.
    """

    def __init__(self, step: Step, error: OSError) -> None:
        super().__init__(f"{describe(step)}: {because(error)}")
        self.step = step
        self.error = error


class Failed(Exception):  # noqa: N818 - it tells about the configuration
    """The configuration could not be applied, and the tree is as it was.

    Attributes:
        line: of the file, 0 for none.
        message: what was refused and why.
        left: what could not be undone; normally empty.
    """

    def __init__(self, line: int, message: str, left: list[str]) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.left = left


class NotReset(OSError):  # noqa: N818 - it tells about the attribute
    """No value removes the mark of a key attribute."""

    def __init__(self) -> None:
        super().__init__(errno.EINVAL, "its default is not known")


class StepRunner:
    """Executes steps, and undoes them."""

    def __init__(self, files: Files, progress: ReportProgress | None = None) -> None:
        self.files = files
        self._progress = progress or (lambda *_: None)

    def run(self, steps: list[Step]) -> None:
        """Do all steps. Raises StepRefused if one is refused, after undoing those before it.

        The notes of the exception say what could not be undone, also for an interruption.
        """
        done: list[Step] = []
        for number, step in enumerate(steps):
            self._progress(number, len(steps), step)
            try:
                self.perform(step.action)
            except OSError as error:
                if not isinstance(step.action, Write):
                    done.append(step)  # it may be partly done
                refused = StepRefused(step, error)
                for left in self.undo(done):
                    refused.add_note(left)
                raise refused from error
            except BaseException as interruption:
                if not self._had_no_effect(step):
                    done.append(step)
                for left in self.undo(done):
                    interruption.add_note(left)
                raise
            done.append(step)

    def _had_no_effect(self, step: Step) -> bool:
        """Whether an interrupted step was not even begun, so that its undo would be refused."""
        if step.verb not in (Verb.ADD, Verb.REMOVE) or step.attribute:
            return False
        return self.files.exists(step.item.path) == (step.verb is Verb.REMOVE)

    def undo(self, done: list[Step]) -> list[str]:
        """Undo steps, the last one first; return messages about failures."""
        left = []
        for step in reversed(done):
            for action in step.undo:
                try:
                    self.perform(action)
                except OSError as error:
                    left.append(f"{describe(step)} could not be undone: {because(error)}")
        return left

    def perform(self, action: Action) -> None:
        """Do one action. Raises OSError."""
        if isinstance(action, Write):
            self.files.write(action.path, action.data)
        elif isinstance(action, Reset):
            self._reset(action)
        else:
            self._close_sessions(action)

    def _reset(self, reset: Reset) -> None:
        problem: OSError = NotReset()
        for value in reset.candidates:
            try:
                if self._takes_mark_away(reset.path, value):
                    return
            except OSError as error:
                problem = error
        if reset.scratch is None:
            raise problem
        add, directory, remove = reset.scratch
        self.files.write(add.path, add.data)
        try:
            name = reset.path.rpartition("/")[2]
            default = self.files.text(f"{directory}/{name}")
        finally:
            try:
                self.files.write(remove.path, remove.data)
            except OSError:  # none of this may stay
                self.files.write(remove.path, remove.data)
        # An attribute that is marked in a new object is always marked, so there is no mark to
        # remove.
        if not default.key and not self._takes_mark_away(reset.path, default.value):
            raise problem

    def _takes_mark_away(self, path: str, value: str) -> bool:
        self.files.write(path, f"{value}\n")
        return not self.files.text(path).key

    def _close_sessions(self, close: CloseSessions) -> None:
        where = f"{close.target}/sessions"
        deadline = time.monotonic() + CLOSE_SECONDS
        while True:
            self.files.forget(close.target)
            try:
                sessions = self.files.directories(where)
            except FileNotFoundError:
                return
            if not sessions:
                return
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            for session in sessions:
                try:
                    self.files.write(f"{where}/{session}/{FORCE_CLOSE}", "1\n")
                except OSError:
                    continue  # there is none, or it has just ended
            time.sleep(_POLL_SECONDS)


def learn(refused: StepRefused, options: Options, steps: list[Step]) -> Options | None:
    """The options for another plan after a refusal; None if there are none."""
    step, number = refused.step, refused.error.errno
    item = step.item
    changes = step.verb in (Verb.SET, Verb.RESET) and step.phase in (
        StepPhase.CHANGE,
        StepPhase.MARKS,
    )
    if changes and item.kind is DEVICE and item.path not in options.replace:
        is_parameter = step.attribute in item.parameters
        if is_parameter or step.verb is Verb.RESET or number == errno.EEXIST:
            return dataclasses.replace(options, replace=options.replace | {item.path})
    if changes and item.kind is TARGET and step.attribute != ENABLED:
        live = item.live.get(ENABLED)
        if live is not None and live.value != "0" and item.path not in options.disable:
            return dataclasses.replace(options, disable=options.disable | {item.path})
    removes = any(
        each.phase >= StepPhase.OLD_TARGETS and each.verb is Verb.REMOVE for each in steps
    )
    if number in _IN_THE_WAY and removes and not options.removals_first:
        return dataclasses.replace(options, removals_first=True)
    return None


def apply(
    current: Item, wanted: Item, files: Files, progress: ReportProgress | None = None
) -> Plan:
    """Apply a configuration to the tree, or leave the tree as it is.

    Args:
        current: the present configuration of the tree.
        wanted: the new one.
        files: the tree.
        progress: called before each step.

    Returns the plan that was executed. Raises Failed; plan.Impossible; OSError if the tree goes
    away.
    """
    options = Options()
    executor = StepRunner(files, progress)
    for _ in range(_MOST_ATTEMPTS):
        made = plan(current, wanted, options)
        try:
            executor.run(made.steps)
        except StepRefused as refused:
            learned = learn(refused, options, made.steps)
            left = list(getattr(refused, "__notes__", []))
            left += _restore(executor, current)
            if learned is None or left:
                line, message = refusal(refused.step, refused.error)
                raise Failed(line, message, left) from refused
            options = learned
        else:
            return made
    raise Failed(0, "all ways to apply it were refused", [])


def _restore(executor: StepRunner, before: Item) -> list[str]:
    """Restore marks of attributes, which undoing leaves although the values are restored.

    An unused device is made again for that; otherwise the mark stays, which is harmless.
    """
    now = tree.settled(executor.files)
    steps = plan(now, before).steps
    if not steps or any(_disturbs(executor.files, step) for step in steps):
        return []
    try:
        executor.run(steps)
    except StepRefused as refused:
        return [f"{refused} (while restoring the old state)"]
    return []


def _disturbs(files: Files, step: Step) -> bool:
    """Return whether initiators would notice a step."""
    if step.verb is not Verb.REMOVE:
        return False
    if step.item.kind is not DEVICE:
        return True
    exported = f"{step.item.path}/exported"
    for name in files.entries(exported):
        target = files.link(f"{exported}/{name}").partition("/targets/")[2].split("/")[:2]
        where = "targets/" + "/".join(target)
        if files.exists(f"targets/{target[0]}/mgmt") and files.directories(f"{where}/sessions"):
            return True
    return False
