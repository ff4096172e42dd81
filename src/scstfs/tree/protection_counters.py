"""Attributes that count failed checks of protection information."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from scstfs.sysfs.attr import Attr, raw
from scstfs.sysfs.entry import always
from scstfs.sysfs.values import anything

_SINCE: Final = "3.1"

_FAILED: Final = "\tapp\tref\tguard\n" + "".join(
    f"{where}\t0\t0\t0\n" for where in ("tgt", "scst", "dev")
)
"""Failed checks. Nothing is checked, so none fails."""


def checks_failed(*, queued: bool, visible: Callable[[Any], bool] = always) -> Attr[Any, None]:
    """The row of targets with protection information."""
    return Attr(
        name="dif_checks_failed",
        mode=0o644,
        show=lambda obj: _FAILED,
        render=raw,
        parse=anything,
        store=lambda obj, value: None,
        queued=queued,
        visible=visible,
        since=_SINCE,
        reads="zeros: protection information is not checked",
        accepts="anything",
        effect="none",
    )
