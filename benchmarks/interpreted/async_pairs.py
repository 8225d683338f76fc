"""Coroutines that hand values on through queues and sockets of one event loop."""

import asyncio
import sys

ROUNDS = int(sys.argv[1])


async def give(queue):
    for number in range(100):
        await queue.put({"number": number, "text": str(number) * 3})
    await queue.put(None)


async def take(queue):
    found = []
    while (item := await queue.get()) is not None:
        found.append(item["text"].encode())
        await asyncio.sleep(0)
    return found


async def both():
    queue = asyncio.Queue(5)
    await asyncio.gather(give(queue), take(queue))


async def main():
    for _ in range(ROUNDS):
        await asyncio.gather(*(both() for _ in range(4)))


asyncio.run(main())
