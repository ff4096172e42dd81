"""Names of directory entries: checks of new names, and lists of numbered ones."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from scstfs.sysfs.directory import DirType
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.text import is_entry_name, kobject_name

T = TypeVar("T")

# LUNs and numbers of exports have fewer digits; more need no int().
_MOST_DIGITS: Final = 10


def require_free(dirtype: DirType[T], obj: T, name: str) -> None:
    """Refuse a new child of *obj* that its directory could not show.

    Raises SysfsError: EINVAL for a name that no directory can hold, EEXIST for one that is taken,
    by an attribute or by a name that differs only in '/' and '!'. (For the former the kernel would
    make a directory that cannot be listed.)
    """
    shown = kobject_name(name)
    if not is_entry_name(shown):
        raise invalid(f'Name "{name}" cannot be shown')
    if dirtype.find(obj, shown) is not None:
        raise SysfsError(errno.EEXIST, f'"{name}" already exists')


@dataclass(frozen=True, slots=True)
class Numbered:
    """Names of a prefix and the numbers in a collection, made one at a time."""

    numbers: Collection[int]
    prefix: str = ""

    def __len__(self) -> int:
        """The number of names."""
        return len(self.numbers)

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return (f"{self.prefix}{number}" for number in self.numbers)


def numbered(prefix: str = "") -> Callable[[int], str]:
    """How `Numbered` makes one name."""
    return lambda number: f"{prefix}{number}"


def number_in(name: str, prefix: str = "") -> int | None:
    """The number in *name*, which must have its canonical form; None otherwise."""
    digits = name.removeprefix(prefix) if name.startswith(prefix) else ""
    if not digits.isascii() or not digits.isdigit() or (digits[0] == "0" and digits != "0"):
        return None
    return int(digits) if len(digits) <= _MOST_DIGITS else None
