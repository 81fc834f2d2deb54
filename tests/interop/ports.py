"""Ports for programs that are told where to listen."""

import random
import socket

_given: set[int] = set()


def free_port() -> int:
    """A free loopback port that is not given twice, below those that systems lend to outgoing connections: one of
    these may be taken by the time a server binds it."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
