"""`python -m scstfs` is the same program as `scstfs`."""

from __future__ import annotations

import sys

from scstfs.cli import main

if __name__ == "__main__":
    sys.exit(main())
