"""The sockets that a server listens on."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from heron.errors import RequestError


def listen(host: str, port: int) -> list[socket.socket]:
    """A bound socket for each address of ``host``, all of one port (a free one for 0). Raises RequestError where there is none to have."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise RequestError(f"there is no address {host!r:.100}: {error}") from None
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            port = port or (sockets[0].getsockname()[1] if sockets else 0)
            sockets.append(_bound(family, kind, protocol, (address[0], port, *address[2:])))
    except OSError as error:
        for bound in sockets:
            bound.close()
        raise RequestError(_why(host, port, error)) from None
    return sockets


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers have one port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; give another one with --port (0: any that is free)"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} is not allowed to this user; give one from 1024 on with --port"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def allow_many() -> None:
    """Let this process have as many connections as the system allows, where a shell's default is about a thousand."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
