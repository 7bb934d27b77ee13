"""Ports of the loopback: free, taken, answered."""

import socket
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rapport_feast.errors import Rejected

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def refuse_taken_port(port: int, user: str, setting: str) -> None:
    """Refuse a port that somebody listens on already.

    Raises
    ------
    Rejected
        The port is taken; the sentence names the setting that moves it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise Rejected(f"port {port}", f"a free port for {user}", "one that is taken", f"Set {setting}.") from None


def answers(url: str, timeout: float = 10.0) -> bool:
    """Return whether an HTTP server answers at an address, whatever it says."""
    try:
        with urlopen(Request(url), timeout=timeout):
            return True
    except HTTPError as error:
        return error.code < 500
    except (URLError, OSError):
        return False
