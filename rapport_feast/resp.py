"""RESP, the wire form of Redis: https://redis.io/docs/latest/develop/reference/protocol-spec/."""

from collections.abc import Sequence


def encode_command(parts: Sequence[str | bytes]) -> bytes:
    r"""Return a command as it goes over the wire.

    Examples
    --------
    >>> encode_command(("GET", b"k"))
    b'*2\r\n$3\r\nGET\r\n$1\r\nk\r\n'
    """
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"*%d\r\n" % len(raw) + b"".join(encode_bulk(part) for part in raw)


def encode_bulk(part: bytes) -> bytes:
    """Return one argument of a command as it goes over the wire."""
    return b"$%d\r\n%b\r\n" % (len(part), part)
