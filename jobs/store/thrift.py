"""Read structs in Thrift's compact protocol, the form of a Parquet file's footer and of the headers of its pages.

Arrow's reader and this one must not take the same bytes differently, so what they could do that with is refused: lists
that are not asked for, as that reader believes its schema and not the bytes which type their items have; fields that
come twice, as it joins them; numbers that it would cut.

The protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Mapping, Sequence
from typing import Any

_TRUE, _FALSE, _BYTE, _I16, I32, I64, _DOUBLE, BINARY, _LIST, _SET, _MAP, STRUCT = range(1, 13)
_WHOLE = (_I16, I32, I64)
_COUNT_FOLLOWS = 15  # in place of a list's length
_MOST_SHIFT = 63  # of the last seven bits of a 64-bit number
_LAST_FIELD = 32_767

# What to read: a value of this type, these fields of a struct, or of each item of a list in turn; a negative type
# passes over a list of such items.
Wanted = int | Mapping[int, "Wanted"] | Sequence["Wanted"]
Fields = Mapping[int, Wanted]


class Reader:
    """Read structs from bytes, one after the other; raises ValueError, IndexError or RecursionError where none is."""

    def __init__(self, content: bytes, at: int = 0) -> None:
        self.content = content
        self.at = at

    def struct(self, fields: Fields) -> dict[int, Any]:
        """Read these fields of a struct by their ids, and pass over all others."""
        found: dict[int, Any] = {}
        content, field = self.content, 0
        while head := content[self.at]:
            self.at += 1
            kind = head & 15
            field = field + (head >> 4) if head > 15 else self._whole()
            wanted = fields.get(field)
            if field in found or not 0 < field <= _LAST_FIELD:
                raise ValueError(f"field {field} comes twice or cannot be")
            if wanted is None:
                self._skip(kind)
            elif kind == wanted and kind in _WHOLE:
                found[field] = self._whole()
            else:
                found[field] = self._value(kind, wanted)
        self.at += 1
        return found

    def _value(self, kind: int, wanted: Wanted) -> Any:  # noqa: ANN401 - of any type
        if kind == BINARY == wanted:
            return self._bytes(self._varint())
        if kind == STRUCT and isinstance(wanted, Mapping):
            return self.struct(wanted)
        if kind == _LIST:
            count, inner = self._list_head()
            if isinstance(wanted, Sequence):
                return [self._value(inner, wanted[place % len(wanted)]) for place in range(count)]
            if isinstance(wanted, int) and inner == -wanted:
                for _ in range(count):
                    self._skip(inner)
                return None
        raise ValueError(f"a value of type {kind}")

    def _skip(self, kind: int) -> None:
        if kind in _WHOLE:
            self._varint()
        elif kind == STRUCT:
            self._skip_struct()
        elif kind == BINARY:
            self._bytes(self._varint())
        elif kind in (_BYTE, _DOUBLE):
            self._bytes(1 if kind == _BYTE else 8)
        elif kind not in (_TRUE, _FALSE):  # which in a struct the type says
            raise ValueError(f"a value of type {kind}")

    def _skip_struct(self) -> None:
        # Most values of a footer are whole numbers that are passed over, here without a call each.
        content = self.content
        while head := content[self.at]:
            self.at += 1
            if head < 16:
                self._varint()  # the field's id
            if head & 15 in _WHOLE:
                at = self.at
                while content[at] > 127:
                    at += 1
                self.at = at + 1
            else:
                self._skip(head & 15)
        self.at += 1

    def _list_head(self) -> tuple[int, int]:
        head = self.content[self.at]
        self.at += 1
        count = head >> 4
        return self._varint() if count == _COUNT_FOLLOWS else count, head & 15

    def _whole(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        content, at = self.content, self.at
        number = content[at]
        if number > 127:
            number, shift = number & 127, 7
            while (byte := content[at := at + 1]) > 127:
                number |= (byte & 127) << shift
                shift += 7
                if shift > _MOST_SHIFT:
                    raise ValueError("a number has more than 64 bits")
            number |= byte << shift
        self.at = at + 1
        return number

    def _bytes(self, size: int) -> bytes:
        taken = self.content[self.at : self.at + size]
        if len(taken) < size:
            raise ValueError("the bytes end within a value")
        self.at += size
        return taken
