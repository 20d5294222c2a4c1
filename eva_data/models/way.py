"""Finds the way of a request: directly to a server on this machine, else through the environment's proxy.

A proxy cannot reach this machine's own addresses, so requests to them use no proxy, whatever `no_proxy` says. The
environment's netrc is never read: it would replace the key that the settings name by another password.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


@lru_cache(maxsize=1024)
def proxy_of(url: str) -> str | None:
    """The proxy for an address; None if a request goes directly to its server."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_here(host) or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def is_here(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
