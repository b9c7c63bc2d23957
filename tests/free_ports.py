"""Ports for the servers of tests, which nobody else takes before they listen."""

import itertools
import os
import socket

SPAN = 1000
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
# Below those that Linux gives to whoever asks for any, and apart from those of test_bring_up.
_turn = itertools.cycle(range(12_000 + SPAN * _worker, 12_000 + SPAN * (_worker + 1)))
_turn = itertools.dropwhile(lambda port: port % SPAN != os.getpid() % SPAN, _turn)


def free_port() -> int:
    """One that no other test of this run gets, whichever of its processes runs it."""
    for port in itertools.islice(_turn, SPAN):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("all ports for tests are taken")
