"""Steps in words, as shell commands and as data; refusals in words."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Mapping
from typing import Any, Final

from scstfs.admin.creation import is_secret
from scstfs.admin.files import SCST_TGT
from scstfs.admin.kinds import LUN
from scstfs.admin.steps import CloseSessions, Reset, Step, Verb, Write, hide

_SIGNS: Final[Mapping[Verb, str]] = {
    Verb.ADD: "+",
    Verb.REMOVE: "-",
    Verb.SET: "~",
    Verb.RESET: "~",
    Verb.ASSIGN: "~",
    Verb.MOVE: "~",
    Verb.CLOSE: "!",
}


def _shown(step: Step, value: str, show_secrets: bool) -> str:
    if step.secret and value and not show_secrets:
        return hide(value)
    return value


def _name(step: Step) -> str:
    return step.item.path or "SCST"


def describe(step: Step, *, show_secrets: bool = False) -> str:
    """A step in one line."""
    item, name = step.item, _name(step)
    old, new = (_shown(step, value, show_secrets) for value in (step.old, step.new))
    if step.verb is Verb.CLOSE:
        return f"close the sessions of {name}"
    if step.verb is Verb.RESET:
        default = f" to {new or 'nothing'}" if new or step.action else ""
        return f"reset {step.attribute} of {name} from {old}{default}"
    if step.attribute and step.verb is Verb.SET:
        was = f" from {old}" if old else ""
        return f"set {step.attribute} of {name}{was} to {new or 'nothing'}"
    if step.attribute:
        there = "to" if step.verb is Verb.ADD else "from"
        return f"{step.verb.value} {step.attribute} {new or old} {there} {name}"
    if step.verb is Verb.MOVE:
        return f"move initiator {item.name} from group {old} to group {new}"
    if step.verb is Verb.ASSIGN:
        return f"assign {new} instead of {old} to {name}"
    shown = _parameters(step, show_secrets)
    parameters = " ".join(f"{name}={value}" for name, value in shown)
    device = f" ({item.device})" if item.kind is LUN else ""
    return f"{step.verb.value} {name}{device}{': ' * bool(parameters)}{parameters}"


def _parameters(step: Step, show_secrets: bool) -> list[tuple[str, str]]:
    return [
        (name, hide(value))
        if is_secret(step.item, name, value, ()) and not show_secrets
        else (name, value)
        for name, value, _ in step.parameters
    ]


def line(step: Step, *, show_secrets: bool = False) -> str:
    """A step as a line of a diff."""
    return f"{_SIGNS[step.verb]} {describe(step, show_secrets=show_secrets)}"


def commands(step: Step, root: str = SCST_TGT, *, show_secrets: bool = False) -> list[str]:
    """The shell commands for a step; if there are none, what to do by hand."""
    action = step.action
    if isinstance(action, CloseSessions):
        # Without sessions the shell leaves the pattern as it is, and no such file exists.
        sessions = shlex.quote(f"{root}/{action.target}/sessions")
        return [f'for s in {sessions}/*/force_close; do [ ! -e "$s" ] || echo 1 >"$s"; done']
    if isinstance(action, Reset):
        value = action.candidates[0] if action.candidates else ":default:"
        action = Write(action.path, f"{value}\n")
    text = action.data.removesuffix("\n")
    if step.secret and not show_secrets:
        for value in filter(None, (step.new, step.old)):
            text = text.replace(value, hide(value))
    return [f"echo {shlex.quote(text)} >{shlex.quote(f'{root}/{action.path}')}"]


def data(step: Step, *, show_secrets: bool = False) -> dict[str, Any]:
    """A step as data for JSON."""
    found: dict[str, Any] = {
        "verb": step.verb.value,
        "kind": step.item.kind.name,
        "path": step.item.path,
    }
    if step.attribute:
        found["attribute"] = step.attribute
    for name, value in (("old", step.old), ("new", step.new)):
        if value:
            found[name] = _shown(step, value, show_secrets)
    if step.parameters:
        found["parameters"] = dict(_parameters(step, show_secrets))
    if step.line:
        found["line"] = step.line
    return found


_REASONS: Final[Mapping[int, str]] = {
    errno.EBADSLT: "another enabled target has this rel_tgt_id",
}


def because(error: OSError) -> str:
    """The reason of a refusal: the text of the errno, and the reason from the tree (its notes)."""
    why = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return why + "".join(f" ({note})" for note in getattr(error, "__notes__", []))


def refusal(step: Step, error: OSError) -> tuple[int, str]:
    """The refused line, and the reason.

    If an item with a file as parameter was refused, and the errno concerns a file, it is the line
    of that parameter.
    """
    text = f"cannot {describe(step)}: {because(error)}"
    if step.verb is Verb.ADD and error.errno not in (errno.EEXIST, errno.EINVAL):
        for _, value, number in step.parameters:
            if value.startswith("/"):
                return number, text
    return step.line, text
