"""Runs aiokafka against a broker whose num.partitions is 3.

Arguments: BOOTSTRAP RECORDS. Every check prints one line of JSON; the exit code is 1 if one failed.
"""

import asyncio
import json
import sys
import time
import traceback

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import OffsetAndMetadata

BOOTSTRAP, RECORDS = sys.argv[1], int(sys.argv[2])
failed = 0


async def check(name, run, *args):
    global failed
    start = time.monotonic()
    try:
        ok, detail = True, await asyncio.wait_for(run(*args), 60) or ""
    except BaseException:
        failed += 1
        ok, detail = False, " | ".join(traceback.format_exc().strip().splitlines()[-5:])
    print(json.dumps({"check": name, "ok": ok, "ms": int(1000 * (time.monotonic() - start)), "detail": detail}), flush=True)


def want(ok, what):
    if not ok:
        raise AssertionError(what)


def key(i):
    return b"k%d" % i


def value(topic, i):
    return b"%s-%d-" % (topic.encode(), i) + b"x" * (i % 97)


def headers(i):
    return [("n", key(i)), ("empty", b"")]


async def send(topic, start, end, codec=None, acks="all"):
    options = {"enable_idempotence": True} if acks == "idempotent" else {"acks": acks}
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, compression_type=codec, linger_ms=5, **options) as p:
        futures = [await p.send(topic, value(topic, i), key(i), headers=headers(i)) for i in range(start, end)]
        await asyncio.gather(*futures)


class Seen:
    """Checks what is consumed: once, in order, as it was sent."""

    def __init__(self, topic):
        self.topic, self.times, self.last = topic, set(), {}

    def add(self, m):
        i = int(m.key[1:])
        where = "record %d at %d/%d" % (i, m.partition, m.offset)
        want(m.value == value(self.topic, i), "%s: %r" % (where, m.value))
        want(list(m.headers) == headers(i), "%s: headers %r" % (where, m.headers))
        want(i not in self.times, where + " again")
        want(self.last.get(m.partition, -1) < i, where + " after %d" % self.last.get(m.partition, -1))
        self.times.add(i)
        self.last[m.partition] = i


def consumer(*topics, group=None, **more):
    options = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "fetch_max_wait_ms": 50, "metadata_max_age_ms": 500,
               "heartbeat_interval_ms": 100, "session_timeout_ms": 6000}
    options.update(more)
    return AIOKafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, group_id=group, **options)


async def read(c, topic, n):
    seen = Seen(topic)
    while len(seen.times) < n:
        for batch in (await c.getmany(timeout_ms=100)).values():
            for m in batch:
                seen.add(m)
    want(not await c.getmany(timeout_ms=60), "more records than %d" % n)
    want(len(seen.times) == n, "%d of %d records" % (len(seen.times), n))


async def topics():
    a = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await a.start()
    try:
        await a.create_topics([NewTopic("made", 5, 1, topic_configs={"retention.ms": "3600000"}), NewTopic("gone", 1, 1)])
        described = (await a.describe_topics(["made"]))[0]
        want(len(described["partitions"]) == 5, "made %s" % described)
        found = await a.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "made")])
        entries = {e[0]: e[1] for e in found[0].resources[0][4]}
        want(entries["retention.ms"] == "3600000", "configs %s" % entries)
        await a.create_partitions({"made": NewPartitions(7)})
        want(len((await a.describe_topics(["made"]))[0]["partitions"]) == 7, "after growth")
        await a.delete_topics(["gone"])
        want("gone" not in await a.list_topics(), "gone is there")
    finally:
        await a.close()


async def produced(codec, acks, n):
    topic = "%s-%s" % (codec, acks)
    await send(topic, 0, n, codec, acks)
    c = consumer(metadata_max_age_ms=500)
    await c.start()
    try:
        c.assign([TopicPartition(topic, p) for p in range(3)])
        await c.seek_to_beginning()
        await read(c, topic, n)
    finally:
        await c.stop()
    return "%d records" % n


class Member(ConsumerRebalanceListener):
    """A consumer of a group; it commits all that it was given before it asks for more."""

    def __init__(self, seen):
        self.seen, self.assigned, self.stop = seen, 0, False
        self.task = asyncio.create_task(self.run())

    async def on_partitions_revoked(self, revoked):
        # Partitions leave while a batch is worked on; this waits for its commit.
        async with self.busy:
            self.assigned = 0

    async def on_partitions_assigned(self, assigned):
        self.assigned = len(assigned)

    async def run(self):
        self.busy = asyncio.Lock()
        c = consumer(group="g")
        c.subscribe([self.seen.topic], listener=self)
        await c.start()
        try:
            while not self.stop:
                async with self.busy:
                    batches = await c.getmany(timeout_ms=20, max_records=1000)
                    for batch in batches.values():
                        for m in batch:
                            self.seen.add(m)
                    if batches:
                        await c.commit()
                await asyncio.sleep(0)
        finally:
            await c.stop()

    async def leave(self):
        self.stop = True
        await self.task


async def until(what, members, holds):
    deadline = time.monotonic() + 30
    while not holds():
        for m in members:
            if m.task.done():
                await m.task
        want(time.monotonic() < deadline, "%s did not come within 30 s" % what)
        await asyncio.sleep(0.002)


async def group(n):
    topic = "big"
    await send(topic, 0, 0)
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP) as p:
        await p.partitions_for(topic)
    seen = Seen(topic)
    a, b = Member(seen), Member(seen)
    await until("two members with partitions", [a, b], lambda: a.assigned + b.assigned == 3 and a.assigned and b.assigned)
    await send(topic, 0, n // 3, "lz4", "idempotent")
    await until("the first third", [a, b], lambda: len(seen.times) >= n // 3)
    await b.leave()
    await until("the member that stays has all", [a], lambda: a.assigned == 3)
    await send(topic, n // 3, n // 2, "lz4", "idempotent")
    await until("the second part", [a], lambda: len(seen.times) >= n // 2)
    c = Member(seen)
    await send(topic, n // 2, n, "lz4", "idempotent")
    await until("the new member has partitions", [a, c], lambda: a.assigned + c.assigned == 3 and a.assigned and c.assigned)
    await until("all records", [a, c], lambda: len(seen.times) >= n)
    await a.leave()
    await c.leave()
    c = consumer(group="g")
    await c.start()
    committed = [await c.committed(TopicPartition(topic, p)) or 0 for p in range(3)]
    await c.stop()
    want(sum(committed) == n, "committed %s" % committed)
    return "%d records" % n


async def regex():
    await send("re-1", 0, 10)
    await send("other-re", 0, 10)
    c = consumer(group="regex")
    c.subscribe(pattern="^re-.*")
    await c.start()
    try:
        await read(c, "re-1", 10)
        await c.commit()
        await send("re-2", 0, 10)
        await read(c, "re-2", 10)
    finally:
        await c.stop()
    return "and a topic made later"


async def seek():
    topic, p0 = "seek", TopicPartition("seek", 0)
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, compression_type="zstd") as p:
        for i in range(1000):
            f = await p.send(topic, value(topic, i), key(i), partition=0, headers=headers(i), timestamp_ms=1600000000000 + 1000 * i)
            if i % 50 == 49:
                await p.flush()
        await f
    c = consumer()
    await c.start()
    try:
        c.assign([p0])
        c.seek(p0, 517)
        want((await c.getone()).offset == 517, "seek to an offset")
        await c.seek_to_beginning(p0)
        m = await c.getone()
        want(m.offset == 0 and m.timestamp == 1600000000000, "start")
        await c.seek_to_end(p0)
        want(await c.position(p0) == 1000, "end")
        for at, offset in {1600000333000: 333, 1600000333001: 334, 1600000000000: 0, 1700000000000: None}.items():
            found = (await c.offsets_for_times({p0: at}))[p0]
            want((found and found.offset) == offset, "time %d: %s" % (at, found))
        await c.seek_to_beginning(p0)
        c.pause(p0)
        want(not await c.getmany(timeout_ms=200), "a record while paused")
        c.resume(p0)
        want((await c.getone()).offset == 0, "after a pause")
    finally:
        await c.stop()
    return "offset, start, end, timestamp, pause"


async def commits():
    topic = "commits"
    p0 = TopicPartition(topic, 0)
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP) as p:
        for i in range(100):
            f = await p.send(topic, value(topic, i), key(i), partition=0, headers=headers(i))
        await f
    c = consumer(topic, group="commits")
    await c.start()
    await c.getone()
    await c.commit({p0: OffsetAndMetadata(10, "note")})
    await c.stop()
    c = consumer(topic, group="commits", enable_auto_commit=True, auto_commit_interval_ms=50)
    await c.start()
    m = await c.getone()
    want(m.offset == 10, "restart at %d" % m.offset)
    while m.offset < 99:
        m = await c.getone()
    await c.stop()
    c = consumer(topic, group="commits")
    await c.start()
    want(await c.committed(p0) == 100, "committed automatically %s" % await c.committed(p0))
    want(not await c.getmany(timeout_ms=200), "a record after all were committed")
    await c.stop()
    return "sync, automatic, restart"


async def main():
    await check("create, describe, configure, delete topics", topics)
    for codec in (None, "gzip", "snappy", "zstd", "lz4"):
        for acks in (0, 1, "all", "idempotent"):
            await check("produce %s acks=%s, assign" % (codec, acks), produced, codec, acks, 2000)
    await check("group: two members, one leaves, one joins", group, RECORDS)
    await check("regular expression", regex)
    await check("seek", seek)
    await check("commit and restart", commits)


asyncio.run(main())
sys.exit(1 if failed else 0)
