"""The main function of `scstfs top`."""

from __future__ import annotations

import json
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Final, TextIO

from scstfs.admin.display import show, tolerant
from scstfs.admin.top.kept import Kept, permitted
from scstfs.admin.top.live import Screen
from scstfs.admin.top.report import Order, Page, Report, View, make
from scstfs.admin.top.session_watch import SessionWatch
from scstfs.admin.top.top_text import render

_SAMPLES: Final = 4
"""How many times in an interval the number of commands under way is read."""

_SHARE: Final = 0.2
"""Reading takes at most this part of the time: with very many sessions the interval gets longer."""


def reports(
    watch: SessionWatch, interval: float, wait: Callable[[float], None]
) -> Iterator[Report]:
    """A report for each interval (seconds); *wait* waits for a number of seconds.

    Raises Mistake, also if the tree goes away.
    """
    watch.look()  # the first reading opens everything, so it takes longest
    looked, spent = time.monotonic(), 0.0
    while True:
        pause = max(interval, spent / _SHARE)
        samples = _SAMPLES if spent < interval * _SHARE / _SAMPLES else 1
        for sample in range(1, samples + 1):
            wait(max(looked + pause * sample / samples - time.monotonic(), 0.0))
            if sample < samples:
                watch.sample(busy_only=True)
        began = time.monotonic()
        seen = watch.look()
        before, looked = looked, time.monotonic()
        spent = looked - began
        yield make(seen, datetime.now().astimezone(), looked - before, watch.is_measuring)


def _print(found: Iterator[Report], page: Page, arguments: Namespace, output: TextIO) -> None:
    for report in found:
        if arguments.json:
            json.dump(report.json(page.order, idle=page.all), output)
            output.write("\n")
            output.flush()
        else:
            show(output, *render(report, page, arguments.mountpoint), "")


def run(arguments: Namespace) -> None:
    """Show reports until stopped.

    Raises Mistake if there is no tree, also if it goes away; OSError if the output cannot be
    written.
    """
    output = tolerant(sys.stdout)
    is_terminal = output.isatty() and not arguments.json
    width = shutil.get_terminal_size().columns if is_terminal else None
    page = Page(View(arguments.by), Order(arguments.order), arguments.all, width)
    with closing(Kept(arguments.mountpoint, permitted())) as kept:
        watched = partial(reports, SessionWatch(kept), arguments.interval)
        try:
            if is_terminal and not arguments.once:
                screen = Screen(arguments.mountpoint, page, output, sys.stdin)
                arguments.answer_watch.at_end(screen.restore)
                screen.run(watched)
            else:
                found = islice(watched(time.sleep), 1 if arguments.once else None)
                _print(found, page, arguments, output)
        except KeyboardInterrupt:
            pass
