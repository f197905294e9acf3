"""The bytes of parts: named by their hash, read several at once, and kept where they come from a bucket."""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

from jobs.store.layout import PARTS, Store
from jobs.store.part_cache import PartCache, part_cache


def part_name(content: bytes) -> str:
    """Name a part by its bytes."""
    return f"{hashlib.sha256(content).hexdigest()}.parquet"


def read_parts_bytes(store: Store, names: Sequence[str], use_cache: bool) -> Iterator[tuple[str, bytes | None]]:
    """Yield parts in this order with their bytes, or None as `read_part_bytes` does; several are read at once.

    Args:
        store: where to read.
        names: of the parts.
        use_cache: whether a copy that an earlier reading of a bucket has kept may be used.
    """
    read = partial(read_part_bytes, store)
    if use_cache and store.is_remote:
        read = partial(_read_copied, store, copies=part_cache())
    at_once = store.backend.reads_at_once
    if at_once == 1:
        yield from ((name, read(name)) for name in names)
        return
    with ThreadPoolExecutor(at_once) as threads:
        reading = deque((name, threads.submit(read, name)) for name in names[: 4 * at_once])
        left = iter(names[4 * at_once :])
        while reading:
            name, content = reading.popleft()
            yield name, content.result()
            reading.extend((each, threads.submit(read, each)) for each in islice(left, 1))


def _read_copied(store: Store, name: str, copies: PartCache) -> bytes | None:
    """Read a copy of a part if there is a whole one, else the part, of which a copy is kept."""
    content = copies.read(name)
    if content is not None:
        if part_name(content) == name:
            return content
        copies.remove(name)
    content = read_part_bytes(store, name)
    if content is not None:
        copies.write(name, content)
    return content


def read_part_bytes(store: Store, name: str) -> bytes | None:
    """Read a part, or return None where it is missing or its bytes are not those that its name stands for."""
    found = store.backend.get(f"{PARTS}{name}")
    return found[0] if found and part_name(found[0]) == name else None
