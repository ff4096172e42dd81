"""The command line of scstadmin, as Perl's Getopt::Long reads it, and valid combinations."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from scstfs.admin.scstadmin.errors import BadOption, Stop

DEFAULT_CONFIG: Final = "/etc/scst.conf"


class Value(enum.Enum):
    """Whether an option has a value."""

    NO = "none"
    OPTIONAL = "optional"
    """The next word, unless it is an option."""
    MANDATORY = "mandatory"
    """The next word, even if it is an option."""


class Role(enum.Enum):
    """The role of an option."""

    QUERY = "query"
    """Prints something; several may be given."""
    CHANGE = "change"
    """Changes something; one may be given, and no query with it."""
    UNCOUNTED = "uncounted"
    """Also changes something, but does not count as such."""
    MODIFIER = "modifier"


class Option(NamedTuple):
    """One option.

    Attributes:
        name: without the dash.
        value: whether it has one.
        role: its role.
        needs: other options that must be given with it.
        complaint: the message if they are not.
    """

    name: str
    value: Value
    role: Role
    needs: tuple[str, ...] = ()
    complaint: str = ""


def _option(
    name: str, value: Value, role: Role, *needs: str, told: str = "", of: str = ""
) -> Option:
    """A row; *told* is the text for the options that it needs, *of* the text for itself, if not the
    usual one.
    """
    if not needs:
        return Option(name, value, role)
    if not told:
        words = [f"-{need}" for need in needs]
        told = words[0] if len(words) == 1 else f"{' '.join(words[:-1])} and {words[-1]}"
    return Option(name, value, role, needs, f"Please specify {told} with {of or f'-{name}'}.")


_NO, _MAY, _MUST = Value.NO, Value.OPTIONAL, Value.MANDATORY
_QUERY, _CHANGE, _MODIFIER = Role.QUERY, Role.CHANGE, Role.MODIFIER

_TGT: Final = ("driver", "target")
_GRP: Final = ("driver", "target", "group")
_OPEN_CLOSE: Final = "-open_dev/-close_dev"
_INITS: Final = "-add_init/-rem_init/-clear_inits"

OPTIONS: Final = (
    _option("config", _MAY, Role.UNCOUNTED),
    _option("clear_config", _NO, _CHANGE, "force"),
    _option("write_config", _MUST, _CHANGE),
    _option("check_config", _MAY, _CHANGE),
    _option("list_handler", _MAY, _QUERY),
    _option("list_device", _MAY, _QUERY),
    _option("list_dgrp", _MAY, _QUERY),
    _option("list_tgrp", _MAY, _QUERY, "dev_group"),
    _option("list_driver", _MAY, _QUERY),
    _option("list_target", _MAY, _QUERY),
    _option("list_group", _MAY, _QUERY),
    _option("list_sessions", _NO, _QUERY),
    _option("list_scst_attr", _NO, _QUERY),
    _option("list_hnd_attr", _MUST, _QUERY),
    _option("list_dev_attr", _MUST, _QUERY),
    _option("list_drv_attr", _MUST, _QUERY),
    _option("list_tgt_attr", _MUST, _QUERY, "driver"),
    _option("list_grp_attr", _MUST, _QUERY, *_TGT, told="-driver, -target and group"),
    _option("list_lun_attr", _MUST, _QUERY, *_TGT),
    _option("list_init_attr", _MUST, _QUERY, *_GRP, told="-driver, -target and -group"),
    _option("list_dgrp_attr", _MUST, _QUERY),
    _option("list_tgrp_attr", _MUST, _QUERY, "dev_group"),
    _option("list_ttgt_attr", _MUST, _QUERY, "dev_group", "tgt_group"),
    _option("set_scst_attr", _NO, _CHANGE, "attributes"),
    _option("set_hnd_attr", _MUST, _CHANGE, "attributes"),
    _option("set_dev_attr", _MUST, _CHANGE, "attributes"),
    _option("set_dgrp_attr", _MUST, _CHANGE, "attributes"),
    _option("set_tgrp_attr", _MUST, _CHANGE, "dev_group", "attributes"),
    _option("set_ttgt_attr", _MUST, _CHANGE, "dev_group", "tgt_group", "attributes"),
    _option("set_drv_attr", _MUST, _CHANGE, "attributes"),
    _option("set_tgt_attr", _MUST, _CHANGE, "driver", "attributes"),
    _option("set_grp_attr", _MUST, _CHANGE, *_TGT, "attributes"),
    _option(
        "set_lun_attr",
        _MUST,
        _CHANGE,
        *_TGT,
        "attributes",
        told="-driver -target -group and -attributes",
    ),
    _option("set_init_attr", _MUST, _CHANGE, *_GRP, "attributes"),
    _option("add_drv_attr", _MUST, _CHANGE, "attributes"),
    _option("add_tgt_attr", _MUST, _CHANGE, "driver", "attributes"),
    _option("rem_drv_attr", _MUST, _CHANGE, "attributes"),
    _option("rem_tgt_attr", _MUST, _CHANGE, "driver", "attributes"),
    _option("open_dev", _MUST, _CHANGE, "handler", of=_OPEN_CLOSE),
    _option("close_dev", _MUST, _CHANGE, "handler", of=_OPEN_CLOSE),
    _option("resync_dev", _MUST, Role.UNCOUNTED),
    _option("add_target", _MUST, _CHANGE, "driver"),
    _option("rem_target", _MUST, _CHANGE, "driver"),
    _option("add_group", _MUST, _CHANGE, *_TGT, of="-add_group/-rem_group"),
    _option("rem_group", _MUST, _CHANGE, *_TGT, of="-add_group/-rem_group"),
    _option("add_init", _MUST, _CHANGE, *_GRP, of=_INITS),
    _option("rem_init", _MUST, _CHANGE, *_GRP, of=_INITS),
    _option("clear_inits", _NO, _CHANGE, *_GRP, of=_INITS),
    _option("move_init", _MUST, Role.UNCOUNTED, *_GRP, "to"),
    _option("add_lun", _MUST, _CHANGE, *_TGT, "device", of="-add_lun/-replace_lun"),
    _option("replace_lun", _MUST, _CHANGE, *_TGT, "device", of="-add_lun/-replace_lun"),
    _option("rem_lun", _MUST, _CHANGE, *_TGT, of="-rem_lun/-clear_luns"),
    _option("clear_luns", _NO, _CHANGE, *_TGT, of="-rem_lun/-clear_luns"),
    _option("add_dgrp", _MUST, _CHANGE),
    _option("rem_dgrp", _MUST, _CHANGE),
    _option("add_dgrp_dev", _MUST, _CHANGE, "dev_group", of="-add_dgrp_dev/-rem_dgrp_dev"),
    _option("rem_dgrp_dev", _MUST, _CHANGE, "dev_group", of="-add_dgrp_dev/-rem_dgrp_dev"),
    _option("add_tgrp", _MUST, _CHANGE, "dev_group", of="-add_tgrp/-rem_tgrp"),
    _option("rem_tgrp", _MUST, _CHANGE, "dev_group", of="-add_tgrp/-rem_tgrp"),
    _option(
        "add_tgrp_tgt", _MUST, _CHANGE, "dev_group", "tgt_group", of="-add_tgrp_tgt/-rem_tgrp_tgt"
    ),
    _option(
        "rem_tgrp_tgt", _MUST, _CHANGE, "dev_group", "tgt_group", of="-add_tgrp_tgt/-rem_tgrp_tgt"
    ),
    _option("enable_target", _MUST, _CHANGE),
    _option("disable_target", _MUST, _CHANGE),
    _option("issue_lip", _MAY, _CHANGE),
    _option("dumpAttrs", _NO, Role.UNCOUNTED),
    *(
        _option(name, _NO, _MODIFIER)
        for name in ("lip", "no_lip", "h", "help", "nonkey", "noprompt", "cont_on_err", "force")
    ),
    _option("debug", _NO, _MODIFIER),
    *(
        _option(name, _MUST, _MODIFIER)
        for name in (
            "handler",
            "attributes",
            "driver",
            "target",
            "group",
            "to",
            "device",
            "dev_group",
            "tgt_group",
        )
    ),
)
"""In the order in which scstadmin checks which of them was given."""

_BY_NAME: Final[Mapping[str, Option]] = {option.name.lower(): option for option in OPTIONS}


class Arguments:
    """Options that were given, with their values; "" for those without one."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = dict(given)

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def get(self, name: str) -> str | None:
        """The value of an option that may have been given."""
        return self._given.get(name)

    def __getitem__(self, name: str) -> str:
        """The value of an option; "" if it was not given."""
        return self._given.get(name, "")

    def given(self, *roles: Role) -> list[str]:
        """Names of options with one of these roles, in scstadmin's order."""
        return [o.name for o in OPTIONS if o.role in roles and o.name in self._given]

    @property
    def attributes(self) -> dict[str, str]:
        """The list of -attributes: names and values, 1 for a name without one."""
        attributes = {}
        for word in filter(None, self["attributes"].split(",")):
            name, equals, value = word.partition("=")
            attributes[name] = value if equals else "1"
        return attributes


def read(argv: Sequence[str]) -> Arguments:
    """Read a command line.

    Option names may begin with one dash or two, be in any case, and be cut as long as they are
    unambiguous; words that are not options are ignored.

    Raises BadOption with all errors of single words.
    """
    given: dict[str, str] = {}
    problems: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            break
        if len(word) < 2 or not word.startswith("-"):
            continue
        written, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        option = _find(written.lower(), problems)
        if option is None:
            continue
        if option.value is Value.NO:
            if equals:
                problems.append(f"Option {written.lower()} does not take an argument")
            else:
                given[option.name] = ""
        elif equals and (value or option.value is Value.OPTIONAL):
            given[option.name] = value
        elif option.value is Value.OPTIONAL:
            # For Getopt::Long a word is an option if it has more than the dash.
            takes = bool(words) and (not words[0].startswith("-") or words[0] == "-")
            given[option.name] = words.pop(0) if takes else ""
        elif equals or not words:
            problems.append(f"Option {written.lower()} requires an argument")
        else:
            given[option.name] = words.pop(0)
    if problems:
        raise BadOption(problems)
    return Arguments(given)


def _find(written: str, problems: list[str]) -> Option | None:
    if written in _BY_NAME:
        return _BY_NAME[written]
    found = sorted(name for name in _BY_NAME if written and name.startswith(written))
    if len(found) == 1:
        return _BY_NAME[found[0]]
    if found:
        problems.append(f"Option {written} is ambiguous ({', '.join(found)})")
    else:
        problems.append(f"Unknown option: {written}")
    return None


def check(arguments: Arguments) -> None:
    """Refuse invalid combinations. Raises Stop with scstadmin's message."""
    changes = arguments.given(Role.CHANGE)
    if len(changes) + bool(arguments.given(Role.QUERY)) > 1:
        raise Stop("Please specify only one non-query operation at a time.\n")
    for option in OPTIONS:
        if option.name in arguments and any(need not in arguments for need in option.needs):
            raise Stop(f"{option.complaint}\n")
