from __future__ import annotations

from rich.console import Console

from cli.up import Child, Supervisor
from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.settings import load


async def test_ready_means_our_own_processes_not_those_of_an_earlier_run(redis_url: str) -> None:
    redis = Redis(redis_url)
    supervisor = Supervisor(load({}, redis_url=redis_url), 0, 1, Console(quiet=True))
    worker = Child("worker 1", lambda process_id: [])
    supervisor._children.append(worker)
    await redis.ask("HSET", keys.PROCESSES, "worker-killed-last-week", "worker")
    assert not await supervisor._all_here(), "it was not even started"
    worker.process_id = "worker-ours"
    assert not await supervisor._all_here()
    await redis.ask("HSET", keys.PROCESSES, worker.process_id, "worker")
    assert await supervisor._all_here()
    await supervisor._redis.close()
    supervisor._folder.cleanup()
    await redis.close()
