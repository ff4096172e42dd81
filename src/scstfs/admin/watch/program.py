"""The main function of `scstfs watch`."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from datetime import datetime
from typing import Final

from scstfs.admin.display import tolerant
from scstfs.admin.watch.events import OccurrenceFields, event_source
from scstfs.printable import printable

INTERVAL_SECONDS: Final = 0.25
"""How often the tree is asked."""


def _line(event: OccurrenceFields) -> str:
    when = datetime.fromtimestamp(event["time"]).astimezone()
    return f"{when:%Y-%m-%d %H:%M:%S} {event['kind']:<15} {printable(event['text'])}"


def run(arguments: Namespace) -> None:
    """Print events until stopped.

    Raises Mistake if there is no tree, also if it goes away; OSError if the output cannot be
    written.
    """
    output = tolerant(sys.stdout)
    try:
        source = event_source(arguments.mountpoint, recent=arguments.recent)
        while True:
            for event in source.new():
                output.write(json.dumps(event) if arguments.json else _line(event))
                output.write("\n")
            output.flush()
            time.sleep(INTERVAL_SECONDS)
    except KeyboardInterrupt:
        pass
