"""The command line of `scstfs exporter`."""

from __future__ import annotations

import argparse
from typing import Final

from scstfs.exporter.listening import DEFAULT, Endpoint

_MOST_LUNS: Final = 10_000


def endpoint(text: str) -> Endpoint:
    """Parse ``HOST:PORT`` for argparse."""
    try:
        return Endpoint.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a number")
    return int(text)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options, except the one for the path of the tree."""
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=endpoint,
        default=DEFAULT,
        help="where to listen (default: %(default)s)",
    )
    parser.add_argument(
        "--auth-file",
        metavar="FILE",
        help="require a user and a password; FILE has a line NAME:PASSWORD for each",
    )
    parser.add_argument(
        "--tls-certificate", metavar="FILE", help="serve HTTPS with this certificate chain (PEM)"
    )
    parser.add_argument("--tls-key", metavar="FILE", help="the certificate's private key (PEM)")
    parser.add_argument(
        "--name",
        metavar="NAME",
        dest="names",
        action="append",
        default=[],
        help="another name of this machine by which browsers call it, may be repeated; addresses, "
        "localhost and the host name need not be given",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="serve other machines even without a password and without TLS",
    )
    parser.add_argument(
        "--most-luns",
        metavar="N",
        type=_natural,
        default=_MOST_LUNS,
        help="LUNs of sessions in the metrics at most (default: %(default)s)",
    )
