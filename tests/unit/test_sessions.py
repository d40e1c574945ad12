from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.errors import SessionLost
from trunkline.sessions import KEEP_CLOSED_S, KEEP_S, NO_SPARE, Record, Records

OPENED = Record("s", "acme", "cascade", 16000, "lane:g1", "websocket", "c1", snapshot=b"\x00\xff")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    connections = Redis(redis_url)
    yield connections
    await connections.close()


@pytest.fixture
async def records(redis: Redis) -> Records:
    made = Records(redis)
    await made.write(OPENED)
    return made


async def current(records: Records) -> Record:
    record = await records.read("s")
    assert record is not None
    return record


async def test_a_record_is_read_as_it_was_written(redis: Redis, records: Records) -> None:
    assert await records.read("s") == OPENED
    assert await records.read("nobody") is None
    assert KEEP_S - 5 < await redis.ask("TTL", keys.session("s")) <= KEEP_S


async def test_every_attach_is_a_new_epoch(records: Records) -> None:
    assert await records.attach(OPENED, "lane:w1") == 1
    assert await records.attach(OPENED, "lane:w2") == 2
    assert ((await current(records)).epoch, (await current(records)).worker) == (2, "lane:w2")


async def test_what_one_worker_commits_the_next_begins_with(records: Records) -> None:
    epoch = await records.attach(OPENED, "lane:w1")
    await records.commit(replace(OPENED, epoch=epoch, worker="lane:w1", snapshot=b"so far"))
    assert (await current(records)).snapshot == b"so far"


async def test_an_older_epoch_cannot_commit(records: Records) -> None:
    older = replace(OPENED, epoch=await records.attach(OPENED, "lane:w1"), worker="lane:w1", snapshot=b"old")
    newer = await records.attach(OPENED, "lane:w2")
    with pytest.raises(SessionLost, match="epoch 1 is over"):
        await records.commit(older)
    with pytest.raises(SessionLost):
        await records.move(older)
    now = await current(records)
    assert (now.epoch, now.worker, now.snapshot) == (newer, "lane:w2", OPENED.snapshot)


async def test_a_commit_leaves_alone_what_is_not_the_workers(records: Records) -> None:
    mine = replace(OPENED, epoch=await records.attach(OPENED, "lane:w1"), worker="lane:w1")
    assert await records.relink("s", 0, "lane:g2", spare=True)
    await records.blame("s")
    await records.commit(mine)
    now = await current(records)
    assert (now.link, now.gateway, now.blamed) == (1, "lane:g2", 1)


async def test_the_last_resume_token_is_good_until_its_successor_arrived(records: Records) -> None:
    assert await records.relink("s", 0, "lane:g2", spare=True) == 1
    assert await records.relink("s", 0, "lane:g3", spare=True) == 2, "the answer with token 1 was lost"
    assert not await records.relink("s", 1, "lane:g1", spare=True), "whoever has that came second"
    await records.arrived("s", 1)
    assert ((await current(records)).link, (await current(records)).spare) == (2, 0), "of an older wire"
    await records.arrived("s", 2)
    assert not await records.relink("s", 0, "lane:thief", spare=True)
    assert (await current(records)).gateway == "lane:g3"
    assert await records.relink("s", 2, "lane:g3", spare=True) == 3


async def test_who_uses_the_newest_resume_token_has_it(records: Records) -> None:
    assert await records.relink("s", 0, "lane:g2", spare=True) == 1
    assert await records.relink("s", 1, "lane:g3", spare=True) == 2
    assert not await records.relink("s", 0, "lane:thief", spare=True)
    assert await records.relink("s", 1, "lane:g3", spare=True) == 3


async def test_a_token_of_which_redis_forgot_that_it_was_given_is_good(redis: Redis, records: Records) -> None:
    """It failed over to a replica that was behind: nobody but us can have signed the token."""
    assert await records.relink("s", 0, "lane:g2", spare=True) == 1
    await redis.ask("HSET", keys.session("s"), "link", 0, "gateway", "lane:g1")
    assert (await current(records)).takes(1)
    assert await records.relink("s", 1, "lane:g3", spare=True) == 2
    now = await current(records)
    assert (now.link, now.spare, now.gateway) == (2, 1, "lane:g3")
    assert [now.takes(link) for link in range(3)] == [False, True, True]


async def test_a_commit_says_again_which_link_its_session_has(redis: Redis, records: Records) -> None:
    """To a Redis that failed over to a replica that was behind: a token that was used would be good again."""
    mine = replace(OPENED, epoch=await records.attach(OPENED, "lane:w1"), worker="lane:w1", link=3, gateway="lane:g3")
    await redis.ask("HSET", keys.session("s"), "link", 1, "spare", 0)
    await records.commit(mine)
    now = await current(records)
    assert (now.link, now.spare, now.gateway) == (3, NO_SPARE, "lane:g3")
    assert await records.relink("s", 3, "lane:g4", spare=True) == 4
    await records.commit(mine)
    now = await current(records)
    assert (now.link, now.spare, now.gateway) == (4, 3, "lane:g4"), "it has yet to hear of that"


async def test_a_resume_token_without_a_spare_is_good_once(records: Records) -> None:
    assert await records.relink("s", 0, "lane:g2", spare=True) == 1
    assert await records.relink("s", 1, "lane:g2", spare=False) == 2
    for used in (0, 1):
        assert not await records.relink("s", used, "lane:g3", spare=False)
    assert not await records.relink("nobody", 0, "lane:g3", spare=True)
    assert ((await current(records)).gateway, (await current(records)).spare) == ("lane:g2", NO_SPARE)


async def test_of_many_that_use_a_token_at_once_one_has_the_session(records: Records) -> None:
    links = await asyncio.gather(*(records.relink("s", 0, f"lane:g{n}", spare=True) for n in range(8)))
    assert sorted(links) == list(range(1, 9)), "each supersedes those before it"
    assert (await current(records)).gateway == f"lane:g{links.index(8)}"
    await records.arrived("s", 8)
    assert not any([await records.relink("s", link, "lane:g", spare=True) for link in range(8)])


async def test_an_emptied_redis_makes_no_old_token_good_again(redis: Redis, records: Records) -> None:
    await records.relink("s", 0, "lane:g2", spare=True)
    before = await current(records)
    await records.arrived("s", 1)
    await redis.ask("FLUSHALL")
    assert await records.put_back(before)
    assert not await records.relink("s", 0, "lane:thief", spare=True)
    assert await records.relink("s", 1, "lane:g2", spare=True)


async def test_an_empty_redis_is_given_the_record_back_epoch_included(redis: Redis, records: Records) -> None:
    assert [await records.attach(OPENED, worker) for worker in ("lane:w1", "lane:w2", "lane:w3")] == [1, 2, 3]
    mine = replace(OPENED, epoch=3, link=4, blamed=1, worker="lane:w3", gateway="lane:g2", snapshot=b"so far")
    await redis.ask("FLUSHALL")
    await redis.ask("SCRIPT", "FLUSH")
    await records.commit(mine)
    assert await records.read("s") == mine
    assert await records.attach(OPENED, "lane:w4") == 4


async def test_after_an_empty_redis_the_newest_owner_wins_whoever_comes_first(redis: Redis, records: Records) -> None:
    older, newer = replace(OPENED, epoch=1, snapshot=b"old"), replace(OPENED, epoch=2, snapshot=b"new")
    await redis.ask("FLUSHALL")
    await records.commit(older)
    await records.commit(newer)
    with pytest.raises(SessionLost):
        await records.commit(older)
    assert (await current(records)).snapshot == b"new"


async def test_a_closed_session_is_known_for_a_while(redis: Redis, records: Records) -> None:
    await records.close("s", "over")
    assert (await current(records)).closed == "over"
    assert 0 < await redis.ask("TTL", keys.session("s")) <= KEEP_CLOSED_S


async def test_a_closed_session_stays_closed(redis: Redis, records: Records) -> None:
    mine = replace(OPENED, epoch=await records.attach(OPENED, "lane:w1"), worker="lane:w1")
    await records.close("s", "no_worker")
    with pytest.raises(SessionLost):
        await records.commit(mine)
    assert (await current(records)).closed == "no_worker"
    assert not await records.relink("s", 0, "lane:g2", spare=True)


async def test_blame_adds_up(records: Records) -> None:
    assert [await records.blame("s") for _ in range(3)] == [1, 2, 3]


async def test_who_takes_a_session_while_redis_is_emptied_puts_it_back_with_a_new_epoch(
    redis: Redis, records: Records
) -> None:
    known = replace(OPENED, epoch=await records.attach(OPENED, "lane:w1"), worker="lane:w1", snapshot=b"so far")
    await redis.ask("FLUSHALL")
    assert await records.attach(known, "lane:w2") == 2
    assert await records.read("s") == replace(known, epoch=2, worker="lane:w2")
    with pytest.raises(SessionLost):
        await records.commit(known)


async def test_of_two_with_the_same_epoch_the_first_in_redis_wins(redis: Redis, records: Records) -> None:
    """One has it from before Redis was emptied, and the other from what an older worker wrote back."""
    older = replace(OPENED, epoch=1, worker="lane:w1", snapshot=b"older")
    before = replace(OPENED, epoch=await records.attach(older, "lane:w2"), worker="lane:w2", snapshot=b"before")
    await redis.ask("FLUSHALL")
    await records.commit(older)
    since = replace(OPENED, epoch=await records.attach(older, "lane:w3"), worker="lane:w3", snapshot=b"since")
    assert before.epoch == since.epoch
    with pytest.raises(SessionLost, match="epoch 2 is over"):
        await records.commit(before)
    await records.commit(since)
    assert ((await current(records)).worker, (await current(records)).snapshot) == ("lane:w3", b"since")


@pytest.mark.parametrize("change", [Records.commit, Records.move])
async def test_what_a_worker_changes_of_a_lost_record_puts_all_of_it_back(
    redis: Redis, records: Records, change: Callable[[Records, Record], Awaitable[None]]
) -> None:
    mine = replace(OPENED, epoch=3, link=4, blamed=1, worker="lane:w3", gateway="lane:g2", left="relay=7")
    await redis.ask("FLUSHALL")
    await change(records, mine)
    assert await records.read("s") == mine


async def test_a_gateway_puts_back_only_what_nobody_else_did(redis: Redis, records: Records) -> None:
    assert not await records.put_back(replace(OPENED, epoch=7, snapshot=b"forgotten"))
    assert await current(records) == OPENED
    await redis.ask("FLUSHALL")
    assert await records.put_back(OPENED)
    assert await current(records) == OPENED
    await redis.ask("FLUSHALL")
    await records.close("s", "over")
    assert not await records.put_back(OPENED), "it ended since"
    assert await records.read("s") is None


async def test_nobody_takes_a_session_that_ended_since_its_record_was_read(records: Records) -> None:
    read = await current(records)
    await records.close("s", "over")
    with pytest.raises(SessionLost, match="is over"):
        await records.attach(read, "lane:w1")
    assert (await current(records)).closed == "over"


async def test_what_is_left_of_a_lost_record_is_no_record_and_goes_too(redis: Redis, records: Records) -> None:
    """A record may expire before a death is blamed on it."""
    await records.blame("gone")
    assert await records.read("gone") is None
    assert 0 < await redis.ask("TTL", keys.session("gone")) <= KEEP_S
    await records.attach(replace(OPENED, session="put back"), "lane:w1")
    assert 0 < await redis.ask("TTL", keys.session("put back")) <= KEEP_S
    await records.close("s", "over")
    await records.blame("s")
    assert 0 < await redis.ask("TTL", keys.session("s")) <= KEEP_CLOSED_S
