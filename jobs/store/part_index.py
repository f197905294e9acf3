"""The columns of a bucket's parts that plans and listings need, decoded: ten thousand small files take seconds.

A part never changes, so neither do its rows. They are one file of the part cache, with a hash in front.
"""

import hashlib
from collections.abc import Collection, Sequence
from importlib.metadata import version
from itertools import groupby

import pyarrow as pa

from jobs.store.layout import Store
from jobs.store.part_cache import PartCache
from jobs.store.schemas import PART

_HEAVY = {"epochs", "confusion", "actual", "predicted"}
LIGHT = [name for name in PART.names if name not in _HEAVY]  # the columns that are kept
_SCHEMA = pa.schema([*(PART.field(name) for name in LIGHT), pa.field("part", pa.string(), nullable=False)])
_DIGEST_BYTES = hashlib.sha256().digest_size


class PartIndex:
    """The light columns of the parts of one store that were read before."""

    def __init__(self, store: Store, copies: PartCache, format_: str) -> None:
        place = hashlib.sha256(f"{store.locate()} {format_} {version('mnistjobs')}".encode()).hexdigest()
        self._copies = copies
        self._name = f"{place}.rows"
        self._table = self._read()
        self._positions: dict[str, tuple[int, int]] = {}  # where a part's rows begin, and how many they are
        start = 0
        for part, rows in groupby(self._table["part"].to_pylist()):
            count = len(list(rows))
            self._positions[part] = start, count
            start += count
        self._new: dict[str, pa.Table] = {}

    def __contains__(self, part: str) -> bool:
        return part in self._positions

    def rows(self, part: str, columns: Sequence[str]) -> pa.Table:
        """Return these columns of a known part."""
        return self._table.slice(*self._positions[part]).select(list(columns))

    def add(self, part: str, rows: pa.Table) -> None:
        """Keep the rows of a part, which have the columns LIGHT."""
        self._new[part] = rows.append_column(_SCHEMA.field("part"), pa.array([part] * rows.num_rows, pa.string()))

    def save(self, listed: Collection[str]) -> None:
        """Write the index anew where parts were added; those that are no longer listed are left out."""
        if not self._new:
            return
        known = [self._table.slice(*place) for part, place in self._positions.items() if part in listed]
        table = pa.concat_tables([_SCHEMA.empty_table(), *known, *(rows.cast(_SCHEMA) for rows in self._new.values())])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, _SCHEMA) as writer:
            writer.write_table(table.combine_chunks())
        content: bytes = sink.getvalue().to_pybytes()
        self._copies.write(self._name, hashlib.sha256(content).digest() + content)

    def _read(self) -> pa.Table:
        content = self._copies.read(self._name) or b""
        digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if not content or hashlib.sha256(content).digest() != digest:
            return _SCHEMA.empty_table()
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        return table if table.schema.equals(_SCHEMA) else _SCHEMA.empty_table()
