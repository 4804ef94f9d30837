"""A process that writes pairs and says which were answered, to be killed or run beside others.

python -m tests.integration.pair_writer URL FIRST COUNT CALLERS
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

from tests.integration.small_tables import small_store, write_pair


async def write_pairs(url: str, *, first: int, count: int, callers: int) -> None:
    """Write `count` pairs numbered from `first`, and print each number once it is answered."""
    numbers = itertools.islice(itertools.count(first), count)

    async with small_store(url, make=False, wait_seconds=30) as store:

        async def caller() -> None:
            for number in numbers:
                await store.write(write_pair, number)
                os.write(1, f"{number}\n".encode())  # past every buffer that dies with us

        await asyncio.gather(*(caller() for _ in range(callers)))


if __name__ == "__main__":
    url, first, count, callers = sys.argv[1:]
    asyncio.run(write_pairs(url, first=int(first), count=int(count), callers=int(callers)))
