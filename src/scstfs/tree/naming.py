"""Names of directory entries: which can be given, and lists of those that are there."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from scstfs.sysfs.directory import DirType
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.text import is_entry_name, kobject_name

T = TypeVar("T")

# LUNs and numbers of exports have fewer; int() of a million digits is pointless work.
_MOST_DIGITS: Final = 10


def require_free(dirtype: DirType[T], obj: T, name: str) -> None:
    """Refuse a new child of *obj* that its directory could not show.

    Raises SysfsError: EINVAL for a name that no directory can hold, EEXIST for one that is taken,
    be it by an attribute or by a name that differs in '/' and '!' only. (The kernel would make a
    directory that nobody can list of the former.)
    """
    shown = kobject_name(name)
    if not is_entry_name(shown):
        raise invalid(f'Name "{name}" cannot be shown')
    if dirtype.find(obj, shown) is not None:
        raise SysfsError(errno.EEXIST, f'"{name}" already exists')


@dataclass(frozen=True, slots=True)
class Numbered:
    """Names made of a prefix and the numbers in a collection, without making them all at once."""

    numbers: Collection[int]
    prefix: str = ""

    def __len__(self) -> int:
        """How many numbers there are."""
        return len(self.numbers)

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return (f"{self.prefix}{number}" for number in self.numbers)


def numbered(prefix: str = "") -> Callable[[int], str]:
    """How `Numbered` makes one name."""
    return lambda number: f"{prefix}{number}"


def number_in(name: str, prefix: str = "") -> int | None:
    """The number in *name*, in the only way of writing it; None if that is not what it is."""
    digits = name.removeprefix(prefix) if name.startswith(prefix) else ""
    if not digits.isascii() or not digits.isdigit() or (digits[0] == "0" and digits != "0"):
        return None
    return int(digits) if len(digits) <= _MOST_DIGITS else None
