"""Runs librdkafka, by its Python binding, against a broker whose num.partitions is 3.

Arguments: BOOTSTRAP RECORDS. Every check prints one line of JSON; the exit code is 1 if one failed.
"""

import json
import sys
import threading
import time
import traceback

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType

BOOTSTRAP, RECORDS = sys.argv[1], int(sys.argv[2])
PARTITIONS = 3
failed = 0


def check(name, run):
    global failed
    start = time.monotonic()
    try:
        ok, detail = True, run() or ""
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
    return [("n", key(i)), ("null", None)]


def producer(codec, acks):
    conf = {"bootstrap.servers": BOOTSTRAP, "compression.type": codec, "linger.ms": 5}
    if acks == "idempotent":
        conf["enable.idempotence"] = True
    else:
        conf["acks"] = acks
        conf["max.in.flight"] = 1
    return Producer(conf)


def consumer(group="assigned", **more):
    conf = {
        "bootstrap.servers": BOOTSTRAP, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
        "heartbeat.interval.ms": 100, "session.timeout.ms": 6000, "fetch.wait.max.ms": 50, "topic.metadata.refresh.interval.ms": 500,
        "allow.auto.create.topics": True, "topic.metadata.propagation.max.ms": 100,
    }
    conf.update({k if k == "on_commit" else k.replace("_", "."): v for k, v in more.items()})
    return Consumer(conf)


def send(p, topic, start, end, **more):
    problems = []

    def delivered(error, message):
        if error is not None:
            problems.append(error)

    for i in range(start, end):
        while True:
            try:
                p.produce(topic, key=key(i), value=value(topic, i), headers=headers(i), on_delivery=delivered, **more)
                break
            except BufferError:
                p.poll(0.05)
    want(p.flush(30) == 0, "records without an answer")
    want(not problems, "%d problems, first %s" % (len(problems), problems[:1]))


class Seen:
    """Checks what is consumed: once, in order, as it was sent."""

    def __init__(self, topic):
        self.topic, self.lock, self.times, self.last, self.problem = topic, threading.Lock(), set(), {}, None

    def add(self, m):
        with self.lock:
            want(m.error() is None, "error %s" % m.error())
            i = int(m.key()[1:])
            where = "record %d at %d/%d" % (i, m.partition(), m.offset())
            want(m.value() == value(self.topic, i), "%s: %r" % (where, m.value()))
            want(m.headers() == headers(i), "%s: headers %r" % (where, m.headers()))
            want(i not in self.times, where + " again")
            want(self.last.get(m.partition(), -1) < i, where + " after %d" % self.last.get(m.partition(), -1))
            self.times.add(i)
            self.last[m.partition()] = i

    def count(self):
        with self.lock:
            return len(self.times)


def read(c, topic, n):
    seen = Seen(topic)
    deadline = time.monotonic() + 30
    while seen.count() < n and time.monotonic() < deadline:
        for m in c.consume(500, 0.05):
            # A topic that a subscription asks for may be made by that.
            if m.error() is not None and m.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            seen.add(m)
    for m in c.consume(1, 0.05):
        seen.add(m)
    want(seen.count() == n, "%d of %d records" % (seen.count(), n))


def first(c):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        m = c.poll(0.1)
        if m is not None:
            want(m.error() is None, "error %s" % m.error())
            return m
    raise AssertionError("no record within 20 s")


ADMIN = AdminClient({"bootstrap.servers": BOOTSTRAP})  # its calls fail when it is collected


def admin():
    return ADMIN


def all_of(futures):
    return {k: f.result(20) for k, f in futures.items()}


def refused(future, code):
    try:
        future.result(20)
    except KafkaException as e:
        want(e.args[0].code() == code, "refused with %s" % e)
        return
    raise AssertionError("not refused")


def topics():
    a = admin()
    all_of(a.create_topics([NewTopic("made", 5, 1, config={"retention.ms": "3600000"}), NewTopic("gone", 1, 1)]))
    refused(a.create_topics([NewTopic("made", 5, 1)])["made"], KafkaError.TOPIC_ALREADY_EXISTS)
    described = a.list_topics("made", 10).topics["made"]
    want(len(described.partitions) == 5 and all(p.leader >= 0 for p in described.partitions.values()), "made: %s" % described.partitions)
    r = ConfigResource(ResourceType.TOPIC, "made")
    want(a.describe_configs([r])[r].result(20)["retention.ms"].value == "3600000", "retention.ms")
    change = ConfigResource(ResourceType.TOPIC, "made", incremental_configs=[ConfigEntry("max.message.bytes", "5000", incremental_operation=AlterConfigOpType.SET)])
    all_of(a.incremental_alter_configs([change]))
    want(a.describe_configs([r])[r].result(20)["max.message.bytes"].value == "5000", "max.message.bytes")
    all_of(a.create_partitions([NewPartitions("made", 7)]))
    want(len(a.list_topics("made", 10).topics["made"].partitions) == 7, "after growth")
    all_of(a.delete_topics(["gone"]))
    want("gone" not in a.list_topics(timeout=10).topics, "gone is there")
    want(len(a.describe_cluster().result(20).nodes) == 1, "nodes")
    return ""


def produced(codec, acks, n):
    topic = codec + "-" + acks
    send(producer(codec, acks), topic, 0, n)
    c = consumer()
    c.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    read(c, topic, n)
    c.close()
    return "%d records" % n


class Member(threading.Thread):
    """
    A consumer of a group in its own thread; it commits all that it was given before it asks for more, or, where the coordinator
    waits for the assignment of a cooperative rebalance and takes no commits (as Kafka's does), before it gives a partition up.
    """

    def __init__(self, group, seen, strategy):
        super().__init__(daemon=True)
        self.pending = False
        self.seen, self.stop, self.assigned, self.problem, self.strategy, self.group = seen, False, 0, None, strategy, group
        self.start()

    def run(self):
        def assigned(_, list):
            self.assigned += len(list)

        def revoked(c, list):
            commit(c)
            self.assigned -= len(list)

        def lost(_, list):
            self.assigned -= len(list)

        def commit(c):
            if not self.pending:
                return
            try:
                c.commit(asynchronous=False)
                self.pending = False
            except KafkaException as e:
                if e.args[0].code() != KafkaError.REBALANCE_IN_PROGRESS:
                    raise

        try:
            c = consumer(self.group, partition_assignment_strategy=self.strategy)
            c.subscribe([self.seen.topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)
            while not self.stop:
                # Rebalances are served by consume, before it gives records out, or after all it gives out.
                batch = c.consume(1000, 0.02)
                for m in batch:
                    self.seen.add(m)
                self.pending = self.pending or bool(batch)
                commit(c)
            c.close()
        except BaseException:
            self.problem = traceback.format_exc()

    def leave(self):
        self.stop = True
        self.join(30)
        want(not self.is_alive(), "a member does not leave")
        want(self.problem is None, self.problem)


def wait(what, members, holds):
    deadline = time.monotonic() + 40
    while not holds():
        for m in members:
            want(m.problem is None, "%s: %s" % (what, m.problem))
        want(time.monotonic() < deadline, "%s did not come within 40 s: assigned %s" % (what, [m.assigned for m in members]))
        time.sleep(0.002)


def group(strategy, n):
    topic = name = "group-" + strategy
    all_of(admin().create_topics([NewTopic(topic, 4, 1)]))
    p, seen = producer("lz4", "idempotent"), Seen(topic)
    a, b = Member(name, seen, strategy), Member(name, seen, strategy)
    wait("two members with partitions", [a, b], lambda: a.assigned == 2 and b.assigned == 2)
    send(p, topic, 0, n // 3)
    wait("the first third", [a, b], lambda: seen.count() >= n // 3)
    b.leave()
    wait("the member that stays has all", [a], lambda: a.assigned == 4)
    send(p, topic, n // 3, n // 2)
    wait("the second part", [a], lambda: seen.count() >= n // 2)
    c = Member(name, seen, strategy)
    send(p, topic, n // 2, n)
    wait("the new member has partitions", [a, c], lambda: a.assigned == 2 and c.assigned == 2)
    wait("all records", [a, c], lambda: seen.count() >= n)
    described = admin().describe_consumer_groups([name])[name].result(20)
    want(len(described.members) == 2 and described.partition_assignor == strategy, "group %s" % described.members)
    a.leave()
    c.leave()
    asked = ConsumerGroupTopicPartitions(name)
    committed = admin().list_consumer_group_offsets([asked])[name].result(20).topic_partitions
    want(sum(t.offset for t in committed) == n, "committed %s" % committed)
    all_of(admin().delete_consumer_groups([name]))
    return "%d records" % n


def regex():
    p = producer("none", "1")
    send(p, "re-1", 0, 10)
    send(p, "other-re", 0, 10)
    c = consumer("regex")
    c.subscribe(["^re-.*"])
    read(c, "re-1", 10)
    c.commit(asynchronous=False)
    send(p, "re-2", 0, 10)
    read(c, "re-2", 10)
    want({t.topic for t in c.assignment()} == {"re-1", "re-2"}, "assigned %s" % c.assignment())
    c.close()
    return "and a topic made later"


def seek():
    topic = "seek"
    all_of(admin().create_topics([NewTopic(topic, 1, 1)]))
    p = producer("zstd", "all")
    for i in range(1000):
        p.produce(topic, key=key(i), value=value(topic, i), headers=headers(i), partition=0, timestamp=1600000000000 + 1000 * i)
        if i % 50 == 49:
            p.flush(20)
    c = consumer()
    c.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    m = first(c)
    want(m.offset() == 0 and m.timestamp()[1] == 1600000000000, "first at %d, %s" % (m.offset(), m.timestamp()))
    c.seek(TopicPartition(topic, 0, 517))
    want(first(c).offset() == 517, "seek to an offset")
    want(c.get_watermark_offsets(TopicPartition(topic, 0), 10) == (0, 1000), "watermarks")
    times = {1600000333000: 333, 1600000333001: 334, 1600000000000: 0, 1700000000000: OFFSET_END}
    for at, offset in times.items():
        found = c.offsets_for_times([TopicPartition(topic, 0, at)], 10)[0].offset
        want(found == offset, "offset %d of time %d, want %d" % (found, at, offset))
    c.assign([TopicPartition(topic, 0, OFFSET_END)])
    want(c.poll(0.3) is None, "a record at the end")
    c.assign([TopicPartition(topic, 0, 0)])
    first(c)
    c.pause([TopicPartition(topic, 0)])
    want(not c.consume(1, 0.3), "a record while paused")
    c.resume([TopicPartition(topic, 0)])
    first(c)
    c.close()
    t = TopicPartition(topic, 0, 100)
    want(list(admin().delete_records([t]).values())[0].result(20).low_watermark == 100, "records deleted")
    t = TopicPartition(topic, 0)
    for spec, offset in ((OffsetSpec.earliest(), 100), (OffsetSpec.latest(), 1000), (OffsetSpec.max_timestamp(), 999)):
        found = admin().list_offsets({t: spec})[t].result(20).offset
        want(found == offset, "offset %d, want %d" % (found, offset))
    return "offset, start, end, timestamp, pause, delete records"


def commits():
    topic = "commits"
    all_of(admin().create_topics([NewTopic(topic, 1, 1)]))
    send(producer("none", "1"), topic, 0, 100)
    c = consumer("commits")
    c.subscribe([topic])
    m = first(c)
    c.commit(m, asynchronous=False)
    c.close()
    c = consumer("commits")
    c.subscribe([topic])
    want(first(c).offset() == 1, "restart after a synchronous commit")
    c.close()
    done = []
    c = consumer("commits", on_commit=lambda error, list: done.append(error))
    c.subscribe([topic])
    m = first(c)
    c.commit(offsets=[TopicPartition(topic, 0, 20, "note")], asynchronous=True)
    deadline = time.monotonic() + 20
    while not done and time.monotonic() < deadline:
        c.poll(0.05)
    want(done == [None], "asynchronous commit %s" % done)
    t = c.committed([TopicPartition(topic, 0)], 10)[0]
    want(t.offset == 20 and t.metadata == "note", "committed %s" % t)
    c.close()
    c = consumer("commits", enable_auto_commit=True, auto_commit_interval_ms=50)
    c.subscribe([topic])
    m = first(c)
    want(m.offset() == 20, "restart at %d after an asynchronous commit" % m.offset())
    while m.offset() < 99:
        m = first(c)
    c.close()
    c = consumer("commits")
    t = c.committed([TopicPartition(topic, 0)], 10)[0]
    want(t.offset == 100, "committed automatically %s" % t)
    c.close()
    return "sync, async, automatic, restart"


check("create, describe, configure, delete topics", topics)
for codec in ("none", "gzip", "snappy", "zstd", "lz4"):
    for acks in ("0", "1", "all", "idempotent"):
        check("produce %s acks=%s, assign" % (codec, acks), lambda: produced(codec, acks, 2000))
for strategy in ("range", "cooperative-sticky"):
    check("group %s: two members, one leaves, one joins" % strategy, lambda: group(strategy, RECORDS))
check("regular expression", regex)
check("seek", seek)
check("commit and restart", commits)
sys.exit(1 if failed else 0)
