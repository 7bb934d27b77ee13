"""The packed row of a view, ``_row:<view>``: all values of an entity in one hash field, read in one go.

It stands beside Feast's own fields in the hash of the entity. Whoever publishes writes it, the online service reads
it; Feast's own readers do not look at it. Little endian throughout:

=========  ==========================================================================================
bytes      what
=========  ==========================================================================================
4          version of the group's definition: the eight hex digits behind the view's name
3 x 8      event time, known at, valid until: microseconds since the epoch
n / 8, up  one bit per feature, set where there is no value
n x 8      one number per feature: int64, float64, or the length in bytes of a text
rest       the texts, one behind the other
=========  ==========================================================================================
"""

import struct
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

FOREVER_US = (1 << 63) - 1


"""Valid until the next row comes."""


FORMATS: Mapping[str, str] = {"int64": "q", "float64": "d", "string": "q"}
Packable = int | float | str | None


class Row(NamedTuple):
    """A packed row as it was read; times in microseconds since the epoch."""

    definition: bytes
    event_us: int
    known_us: int
    valid_until_us: int
    values: tuple[Packable, ...]


class Packing:
    """How the rows of one view are packed.

    Parameters
    ----------
    dtypes
        Feature = ``int64``, ``float64`` or ``string``, in order.
    version
        Version of the group's definition, eight hex digits.
    """

    def __init__(self, dtypes: Mapping[str, str], version: str) -> None:
        self.names = tuple(dtypes)
        self.dtypes = tuple(dtypes.values())
        self.definition = bytes.fromhex(version)
        self._blanks = tuple(0.0 if dtype == "float64" else 0 for dtype in self.dtypes)
        self._none_missing = bytes(self.nulls)
        self._texts = tuple(place for place, dtype in enumerate(self.dtypes) if dtype == "string")

    @cached_property
    def nulls(self) -> int:
        """Length of the bits that say which values are missing, in bytes."""
        return (len(self.names) + 7) // 8

    @cached_property
    def form(self) -> struct.Struct:
        """Everything before the texts."""
        return struct.Struct(f"<4sqqq{self.nulls}s" + "".join(FORMATS[dtype] for dtype in self.dtypes))

    def pack(self, event_us: int, known_us: int, valid_until_us: int, values: Sequence[Packable]) -> bytes:
        """Return one row, packed."""
        missing = sum(1 << place for place, value in enumerate(values) if value is None)
        numbers = [blank if value is None else value for blank, value in zip(self._blanks, values, strict=True)]
        texts = []
        for place in self._texts:
            text = str(values[place]).encode() if values[place] is not None else b""
            numbers[place] = len(text)
            texts.append(text)
        head = (self.definition, event_us, known_us, valid_until_us, missing.to_bytes(self.nulls, "little"))
        return self.form.pack(*head, *numbers) + b"".join(texts)

    def unpack(self, raw: bytes) -> Row:
        """Return what a packed row holds.

        Raises
        ------
        ValueError
            The bytes are no row of this view.
        """
        try:
            fields = self.form.unpack_from(raw)
        except struct.error as error:
            raise ValueError(f"a row of {len(raw)} bytes ({error})") from None
        definition, event_us, known_us, valid_until_us, nulls = fields[:5]
        at = self.form.size
        if at == len(raw) and nulls == self._none_missing and not self._texts:
            return Row(definition, event_us, known_us, valid_until_us, fields[5:])
        numbers = list(fields[5:])
        for place in self._texts:
            length = numbers[place]
            if length < 0 or at + length > len(raw):
                raise ValueError(f"a row of {len(raw)} bytes with a text beyond its end")
            numbers[place] = raw[at : at + length].decode()
            at += length
        if at != len(raw):
            raise ValueError(f"a row of {len(raw)} bytes, {len(raw) - at} too many")
        missing = int.from_bytes(nulls, "little")
        while missing:
            place = (missing & -missing).bit_length() - 1
            numbers[place] = None
            missing &= missing - 1
        return Row(definition, event_us, known_us, valid_until_us, tuple(numbers))


VALID_UNTIL = slice(20, 28)
