"""Which initiators may reach a target, through which portal: `allowed_portal` and the
hosts_access-like files.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from scstfs import patterns

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def portal_allowed(allowed: Iterable[str], portal: str) -> bool:
    """Tell whether a target with these `allowed_portal` patterns is reachable at `portal`.

    If there are positive patterns, one has to match; every negative one (that starts with "!") has
    to hold. Without patterns, every portal is allowed. `portal` is a numeric address, unbracketed.
    """
    rules = list(allowed)
    positive = [rule for rule in rules if not rule.startswith("!")]
    negative = [rule for rule in rules if rule.startswith("!")]
    if positive and not any(patterns.match(rule, portal) for rule in positive):
        return False
    return all(patterns.match(rule, portal) for rule in negative)


def same_address(left: str, right: str) -> bool:
    """Tell whether two numeric addresses, in any notation, are the same; scopes are ignored."""
    address = _parse_address(left)
    return address is not None and address == _parse_address(right)


def is_listed(listing: str, target: str, address: str) -> bool:
    """Tell whether /etc/initiators.deny or .allow (`listing` is its text) names an initiator.

    A line is `TARGET ITEM[,ITEM...]`: the first for this target or for "ALL" decides. An item is
    "ALL", an address or a network; IPv6 ones may be in brackets. Comments begin with "#", and a
    line without its newline does not count. A malformed item ends its line without a match.
    """
    client = _parse_address(address)
    if client is None:
        return False
    for line in listing.splitlines(keepends=True):
        if not line.endswith("\n") or line.startswith("#"):
            continue
        fields = line.split(None, 1)
        if len(fields) == 2 and (fields[0] == "ALL" or fields[0].lower() == target.lower()):
            return _any_item(fields[1], client)
    return False


def _any_item(items: str, client: Address) -> bool:
    for item in items.split(","):
        word = item.strip()
        if word == "ALL":
            return True
        host, slash, mask = word.replace("[", "").replace("]", "").partition("/")
        try:
            network = ipaddress.ip_network(f"{host}/{mask}" if slash else host, strict=False)
        except ValueError:
            return False
        if client in network:
            return True
    return False


def _parse_address(address: str) -> Address | None:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped or parsed
