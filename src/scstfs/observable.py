"""Objects that announce their changes, so that copies of their state can be invalidated.

An observer is called synchronously, right after the change and within the code that makes it. It
must neither raise nor use anything except its argument: it records the change, and acts later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeAlias, TypeVar

K = TypeVar("K")
V = TypeVar("V")

Observer: TypeAlias = Callable[[Any], None]
"""Gets the key whose value was added, removed or replaced; None if there are no keys."""


class Observable:
    """Something whose changes can be observed."""

    _observers: tuple[Observer, ...] = ()

    def observe(self, observer: Observer) -> None:
        """Call *observer* after each change from now on."""
        self._observers += (observer,)

    def ignore(self, observer: Observer) -> None:
        """Call *observer* no more."""
        self._observers = tuple(other for other in self._observers if other != observer)

    def changed(self, key: Any = None) -> None:
        """Tell all observers of a change that has just been made."""
        for observer in self._observers:
            observer(key)


class ObservableDict(dict[K, V], Observable):
    """A dict that announces added, removed and replaced keys. Reading costs nothing extra."""

    def __setitem__(self, key: K, value: V) -> None:
        """Set an item; the same object again is no change."""
        is_new = key not in self or self[key] is not value
        super().__setitem__(key, value)
        if is_new:
            self.changed(key)

    def __delitem__(self, key: K) -> None:
        """Remove an item. KeyError if there is none."""
        super().__delitem__(key)
        self.changed(key)

    def pop(self, key: K, *default: Any) -> Any:
        """As of dict."""
        is_there = key in self
        value = super().pop(key, *default)
        if is_there:
            self.changed(key)
        return value

    def popitem(self) -> tuple[K, V]:
        """As of dict."""
        item = super().popitem()
        self.changed(item[0])
        return item

    def setdefault(self, key: K, default: V) -> V:
        """As of dict."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Remove all items."""
        keys = list(self)
        super().clear()
        for key in keys:
            self.changed(key)

    def update(self, *others: Any, **named: Any) -> None:
        """As of dict, one item after the other."""
        for key, value in dict(*others, **named).items():
            self[key] = value

    def __ior__(self, other: Any) -> Self:  # type: ignore[override, misc]
        """As of dict."""
        self.update(other)
        return self
