"""Several processes that race each other for one store. Knows how to start them and when to let them go."""

import asyncio
import os
import sys
from pathlib import Path

PROCESSES = 4
DEADLINE_SECONDS = 60.0


async def race(url: str, endpoint_url: str, task: str) -> list[int]:
    """Run `tests.bucket.racer` in several processes that start their task together; return what each of them says."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bucket.racer", url, endpoint_url, f"process-{number}", task),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for number in range(PROCESSES)
    ]
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            for process in processes:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"ready\n"
            answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return [int(said) for said, _ in answers]
