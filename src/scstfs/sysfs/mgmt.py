"""The command language of SCST's ``mgmt`` files (scst_get_next_lexem, scst_get_next_token_str).

``VERB word word ... name=value value; name=value`` - words are separated by any run of white space
or '=', nothing is quoted. Parameters end at ';', a newline or the end; an empty one silently ends
the list. Splitting always succeeds; the verb decides (with the helpers here) what is missing or too
much, because SCST records that decision in ``last_sysfs_mgmt_res``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from scstfs.sysfs.attr import Attr, raw
from scstfs.sysfs.errors import invalid
from scstfs.sysfs.text import BLANKS, cut_at_nul, decode, fold

_Action = TypeVar("_Action")
_Object = TypeVar("_Object")

_SEPARATORS: Final = re.escape(BLANKS + b"=")
_WORD: Final = re.compile(rb"[%b]*([^%b]*)" % (_SEPARATORS, _SEPARATORS))
_PARAMETER: Final = re.compile(rb"[^\n;]*")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One ``name=value`` of a parameter list.

    *name* is as typed, and empty if the parameter has only blanks (which every verb refuses).
    """

    name: str
    values: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name for comparing: SCST ignores its case."""
        return fold(self.name)

    def value(self) -> str:
        """The only value. EINVAL when there is no name, no value, or more than one."""
        if not self.name:
            raise invalid("Syntax error: parameter name expected")
        if not self.values:
            raise invalid(f"Parameter {self.name} value missed")
        if len(self.values) > 1:
            raise invalid(f"Too many parameter's {self.name} values")
        return self.values[0]


class Lexer:
    """Takes words, then perhaps parameters, from the front of a command."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        """Start at the front of *data*, which ends at its first NUL if it has one."""
        self._data = cut_at_nul(data)
        self._position = 0

    def word(self) -> str | None:
        """The next word, or None if there is none. It consumes the one separator behind the word.

        That the separator is consumed matters: in ``add_device x\\na=1`` the newline is gone before
        the parameter list starts, in ``add_device x \\na=1`` it is its empty first parameter.
        """
        match = _WORD.match(self._data, self._position)
        word = match.group(1) if match else b""
        end = match.end() if match else len(self._data)
        self._position = min(end + 1, len(self._data))
        return decode(word) if word else None

    def required_word(self, what: str) -> str:
        """The next word; EINVAL ``WHAT required`` when there is none."""
        word = self.word()
        if word is None:
            raise invalid(f"{what} required")
        return word

    def expect_end(self) -> None:
        """EINVAL when there is another word."""
        word = self.word()
        if word is not None:
            raise invalid(f'Syntax error on "{word}"')

    def rest(self) -> bytes:
        """The rest of the text; takes nothing."""
        return self._data[self._position :]

    def parameters(self) -> list[Parameter]:
        """The rest as a parameter list, up to the first empty parameter."""
        found = []
        while (text := self._next_parameter()) is not None:
            words = Lexer(text)
            name = words.word() or ""
            values = tuple(iter(words.word, None))
            found.append(Parameter(name, values))
        return found

    def _next_parameter(self) -> bytes | None:
        match = _PARAMETER.match(self._data, self._position)
        if match is None or not match.group():
            return None
        self._position = min(match.end() + 1, len(self._data))
        return match.group()


@dataclass(frozen=True, slots=True)
class MgmtWrite:
    """One write to a ``mgmt`` file: its verb, and a lexer positioned behind the verb.

    Attributes:
        verb: lower case, since SCST ignores the case of actions; "" for an empty line.
        typed: the verb as it was written, for messages.
        arguments: the words and parameters that follow.
        text: the whole command as a driver's own command function gets it: the separator behind
            the verb has become a blank (scst_restore_token_str).
    """

    verb: str
    typed: str
    arguments: Lexer
    text: bytes

    def select(self, actions: Mapping[str, _Action]) -> _Action:
        """The entry of *actions* (lower-case names) for this verb; EINVAL if there is none."""
        try:
            return actions[self.verb]
        except KeyError:
            raise invalid(f'Unknown action "{self.typed}"') from None


def parse(data: bytes) -> MgmtWrite:
    """Split the verb off. Never refuses; fits `scstfs.sysfs.attr.Attr.parse`."""
    text = cut_at_nul(data)
    arguments = Lexer(text)
    typed = arguments.word() or ""
    match = _WORD.match(text)
    end = match.end() if match else len(text)
    if end < len(text):
        text = text[:end] + b" " + text[end + 1 :]
    return MgmtWrite(verb=fold(typed), typed=typed, arguments=arguments, text=text)


def mgmt_attr(
    show: Callable[[_Object], str],
    store: Callable[[_Object, MgmtWrite], Awaitable[None] | None],
    *,
    accepts: str,
    refuses: str,
    effect: str,
    reads: str = "how to use it",
    parse: Callable[[bytes], MgmtWrite] = parse,
    queued: bool = True,
    since: str = "2.0",
) -> Attr[_Object, MgmtWrite]:
    """The row of a ``mgmt`` file: *show* is its usage, *store* executes a command."""
    return Attr(
        name="mgmt",
        mode=0o644,
        show=show,
        render=raw,
        parse=parse,
        store=store,
        queued=queued,
        since=since,
        reads=reads,
        accepts=accepts,
        refuses=refuses,
        effect=effect,
    )
