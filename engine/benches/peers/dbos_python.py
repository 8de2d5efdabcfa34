"""DBOS Transact for Python: python3 dbos_python.py POSTGRES_URL

Takes loads and answers them as workload.mjs says.
"""

import asyncio
import json
import random
import sys
import time

from dbos import DBOS, DBOSConfig


async def increment(n: int) -> int:
    return n + 1


a = DBOS.step(name="a")(increment)
b = DBOS.step(name="b")(increment)
c = DBOS.step(name="c")(increment)


@DBOS.workflow(name="chain")
async def chain(n: int) -> int:
    return await c(await b(await a(n)))


async def run(load: dict) -> dict:
    """Runs up to so many workflows, so many at a time, and begins none after so many seconds."""
    began = time.perf_counter()
    latencies_ms = []
    numbers = iter(range(load["workflows"]))

    async def lane() -> None:
        for n in numbers:
            if load["pause_ms"] > 0:
                await asyncio.sleep(random.random() * load["pause_ms"] / 1000)
            submitted = time.perf_counter()
            result = await chain(n)
            assert result == n + 3, f"the workflow of {n} answered {result}"
            latencies_ms.append((time.perf_counter() - submitted) * 1000)
            if time.perf_counter() - began > load["seconds"]:
                return

    await asyncio.gather(*(lane() for _ in range(load["in_flight"])))
    return {"seconds": time.perf_counter() - began, "latencies_ms": latencies_ms}


def say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


async def main() -> None:
    config: DBOSConfig = {"name": "bench", "system_database_url": sys.argv[1], "log_level": "ERROR"}
    DBOS(config=config)
    DBOS.launch()
    say({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        say(await run(json.loads(line)))
    DBOS.destroy()


asyncio.run(main())
