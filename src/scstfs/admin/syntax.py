r"""The text of scst.conf: words, quotes, comments, blocks.

A statement is a line of words, with or without a block in braces behind it:

    HANDLER vdisk_fileio {
            DEVICE disk1 {
                    filename "/srv/a disk"    # a comment
            }
    }

A word ends at a blank, at a brace and at ``#``, which begins a comment. In double quotes it may
contain all of these, and be empty. A backslash removes the special meaning of the next character.

Any text gives statements, by the lax rules of SCST's scstadmin: words beyond the third are left
out, and a closing brace too many ends the file. `Document.problems` has the mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

MOST_WORDS: Final = 3

_TOKEN: Final = re.compile(
    r"""
    (?P<blank>[^\S\n]+)
    | (?P<newline>\n)
    | (?P<comment>\#[^\n]*)
    | (?P<open>\{)
    | (?P<close>\})
    | "(?P<quoted>(?:[^"\\\n]|\\[^\n])*)"
    | (?P<bare>(?:[^\s\\\#{}]|\\[^\n]|\\(?=\n|\Z))+)
    """,
    re.VERBOSE,
)
_ESCAPED: Final = re.compile(r"\\([^\n])")
_META: Final = re.compile(r"([\\#])")
_QUOTED_META: Final = re.compile(r'([\\"])')
_PLAIN: Final = re.compile(r'[^\s"\\#{}]+')


class Statement(NamedTuple):
    """One line, and the block behind it.

    Attributes:
        words: one to three.
        line, column: of the first word, both counted from 1.
        block: the statements in braces; None without braces.
        end: line of the last word, or of the closing brace.
    """

    words: tuple[str, ...]
    line: int
    column: int
    block: tuple[Statement, ...] | None = None
    end: int = 0


class SyntaxProblem(NamedTuple):
    """A mistake in a text, with its line and column, both counted from 1."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        """``LINE:COLUMN: MESSAGE``."""
        return f"{self.line}:{self.column}: {self.message}"


class Document(NamedTuple):
    """The contents of a text."""

    statements: tuple[Statement, ...]
    problems: tuple[SyntaxProblem, ...]


class _Token(NamedTuple):
    kind: str
    text: str
    line: int
    column: int


def _tokens(text: str) -> Iterator[_Token]:
    line, start = 1, 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        column = match.start() - start + 1
        if kind in ("quoted", "bare"):
            if kind == "bare" and match[0].startswith('"'):
                yield _Token("unclosed", match[0], line, column)
            yield _Token("word", _ESCAPED.sub(r"\1", match[kind]), line, column)
        elif kind in ("newline", "open", "close"):
            yield _Token(kind, match[0], line, column)
        if kind == "newline":
            line, start = line + 1, match.end()


class _OpenBlock:
    """Statements being collected, and the statement that opened the block."""

    def __init__(self, opened: _Token | None, words: list[_Token]) -> None:
        self.opened = opened
        self.words = words
        self.statements: list[Statement] = []


class _StatementParser:
    """Builds statements from tokens, without recursion: the text may nest to any depth."""

    def __init__(self) -> None:
        self.problems: list[SyntaxProblem] = []
        self._blocks = [_OpenBlock(None, [])]
        self._words: list[_Token] = []

    def parse(self, text: str) -> Document:
        for token in _tokens(text):
            if token.kind == "word":
                self._words.append(token)
            elif token.kind == "unclosed":
                self._complain(token, "quote is not closed in this line")
            elif token.kind == "newline":
                self._end_line()
            elif token.kind == "open":
                self._blocks.append(_OpenBlock(token, self._words))
                self._words = []
            elif not self._close(token):
                break
        self._end_line()
        while len(self._blocks) > 1:
            opened = self._blocks[-1].opened
            assert opened is not None
            self._complain(opened, "brace is not closed")
            self._end_block()
        return Document(tuple(self._blocks[0].statements), tuple(sorted(self.problems)))

    def _complain(self, token: _Token, message: str) -> None:
        self.problems.append(SyntaxProblem(token.line, token.column, message))

    def _add(self, words: list[_Token], block: tuple[Statement, ...] | None, end: int = 0) -> None:
        if len(words) > MOST_WORDS:
            self._complain(words[MOST_WORDS], "too many words; quote a value that has blanks")
        first = words[0]
        kept = tuple(word.text for word in words[:MOST_WORDS])
        statement = Statement(kept, first.line, first.column, block, end or first.line)
        self._blocks[-1].statements.append(statement)

    def _end_line(self) -> None:
        if self._words:
            self._add(self._words, None)
            self._words = []

    def _end_block(self, end: int = 0) -> None:
        block = self._blocks.pop()
        if block.words:
            self._add(block.words, tuple(block.statements), end)
        elif block.opened is not None:
            self._complain(block.opened, "block belongs to nothing; its name goes on the same line")

    def _close(self, token: _Token) -> bool:
        self._end_line()
        if len(self._blocks) == 1:
            self._complain(token, "closing brace too many; all that follows is ignored")
            return False
        self._end_block(token.line)
        return True


def parse(text: str) -> Document:
    """Read a text. Never raises: see the module's text."""
    return _StatementParser().parse(text)


def escape(value: str) -> str:
    """A value as scstadmin writes it; scstadmin misreads some with quotes or braces."""
    escaped = _META.sub(r"\\\1", value)
    return f'"{escaped}"' if " " in escaped else escaped


def quote(value: str) -> str:
    """A value that `parse` reads back; written by `escape` if that is enough."""
    if _PLAIN.fullmatch(value):
        return value
    plain = escape(value)
    read = parse(f"x {plain}")
    if not read.problems and [statement.words for statement in read.statements] == [
        ("x", value) if value else ("x",)
    ]:
        return plain
    return '"' + _QUOTED_META.sub(r"\\\1", value) + '"'
