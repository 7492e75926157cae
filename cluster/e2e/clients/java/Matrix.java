import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicReference;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;

/**
 * Matrix runs a Java client of any release since 0.9 against a broker whose num.partitions is 3.
 *
 * <p>Arguments: BOOTSTRAP CODECS ACKS RECORDS, the lists with commas. What the releases do differently is in the classes
 * Consume and Topics, of which a release gets the newest that it compiles. Every check prints one line of JSON.
 */
public final class Matrix {
    static final int PARTITIONS = 3;
    static final byte[][] VALUES = new byte[97][];
    static String bootstrap;
    static int failed;

    interface Check {
        String run() throws Exception;
    }

    static void check(String name, Check c) {
        long start = System.nanoTime();
        String problem = null;
        String detail = "";
        try {
            detail = c.run();
        } catch (Throwable e) {
            failed++;
            problem = e.toString();
            for (Throwable t = e.getCause(); t != null; t = t.getCause()) {
                problem += ": " + t;
            }
            StackTraceElement[] at = e.getStackTrace();
            for (int i = 0; i < Math.min(6, at.length); i++) {
                problem += " @" + at[i];
            }
        }
        System.out.println("{\"check\":" + quote(name) + ",\"ok\":" + (problem == null) + ",\"ms\":"
                + (System.nanoTime() - start) / 1000000 + ",\"detail\":" + quote(problem == null ? detail : problem) + "}");
    }

    static String quote(String s) {
        StringBuilder b = new StringBuilder("\"");
        for (char c : s.toCharArray()) {
            if (c == '"' || c == '\\') {
                b.append('\\').append(c);
            } else {
                b.append(c < ' ' || c > '~' ? ' ' : c);
            }
        }
        return b.append('"').toString();
    }

    static void want(boolean ok, String what) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }

    static Properties base() {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("metadata.max.age.ms", "500");
        for (String side : new String[] {"key", "value"}) {
            p.put(side + ".serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
            p.put(side + ".deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
        }
        return p;
    }

    static KafkaProducer<byte[], byte[]> producer(String codec, String acks) {
        Properties p = base();
        p.put("compression.type", codec);
        if (acks.equals("idempotent")) {
            p.put("enable.idempotence", "true");
            p.put("acks", "all");
        } else {
            p.put("acks", acks);
            p.put("max.in.flight.requests.per.connection", "1");
            if (Consume.HEADERS) {
                p.put("enable.idempotence", "false");
            }
        }
        p.put("linger.ms", "5");
        return new KafkaProducer<>(p);
    }

    static KafkaConsumer<byte[], byte[]> consumer(String group, String... more) {
        Properties p = base();
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", "false");
        p.put("session.timeout.ms", "6000");
        p.put("heartbeat.interval.ms", "100");
        p.put("fetch.max.wait.ms", "50");
        if (group != null) {
            p.put("group.id", group);
        }
        for (int i = 0; i < more.length; i += 2) {
            p.put(more[i], more[i + 1]);
        }
        return new KafkaConsumer<>(p);
    }

    static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    static byte[] key(int i) {
        return bytes("k" + i);
    }

    static byte[] value(String topic, int i) {
        byte[] start = bytes(topic + "-" + i + "-");
        byte[] v = Arrays.copyOf(start, start.length + i % 97);
        Arrays.fill(v, start.length, v.length, (byte) 'x');
        return v;
    }

    /** send produces records from (with) to (without), and waits for all answers. */
    static void send(KafkaProducer<byte[], byte[]> p, String topic, int from, int to, boolean acked) throws Exception {
        AtomicReference<Exception> problem = new AtomicReference<>();
        List<Future<RecordMetadata>> last = new ArrayList<>();
        long time = System.currentTimeMillis();
        for (int i = from; i < to; i++) {
            ProducerRecord<byte[], byte[]> r = Consume.record(topic, key(i), value(topic, i), i);
            Future<RecordMetadata> f = p.send(r, (m, e) -> {
                if (e != null) {
                    problem.compareAndSet(null, e);
                }
            });
            if (i >= to - 100) {
                last.add(f);
            }
        }
        p.flush();
        if (problem.get() != null) {
            throw problem.get();
        }
        for (Future<RecordMetadata> f : last) {
            RecordMetadata m = f.get();
            want(!acked || m.offset() >= 0, "offset " + m.offset());
        }
    }

    /** Seen checks what is consumed: once, in order, as it was sent. */
    static final class Seen {
        final String topic;
        final AtomicIntegerArray times;
        final Map<Integer, Integer> lastOf = new HashMap<>();
        final Map<Integer, Long> offsets = new HashMap<>();
        int count;
        boolean ordered = true;

        Seen(String topic, int n) {
            this.topic = topic;
            this.times = new AtomicIntegerArray(n);
        }

        synchronized void add(ConsumerRecord<byte[], byte[]> r) {
            int i = Integer.parseInt(new String(r.key(), StandardCharsets.UTF_8).substring(1));
            want(Arrays.equals(r.value(), value(topic, i)), "value of record " + i + " is " + new String(r.value(), StandardCharsets.UTF_8));
            Consume.checkHeaders(r, i);
            want(times.incrementAndGet(i) == 1, "record " + i + " at " + r.partition() + "/" + r.offset() + " again");
            Integer last = lastOf.put(r.partition(), i);
            want(!ordered || last == null || last < i, "record " + i + " after " + last + " in partition " + r.partition());
            Long offset = offsets.put(r.partition(), r.offset());
            want(offset == null || offset < r.offset(), "offset " + r.offset() + " after " + offset);
            count++;
        }

        synchronized int count() {
            return count;
        }
    }

    static List<TopicPartition> partitions(String topic) {
        List<TopicPartition> list = new ArrayList<>();
        for (int i = 0; i < PARTITIONS; i++) {
            list.add(new TopicPartition(topic, i));
        }
        return list;
    }

    static void readAll(KafkaConsumer<byte[], byte[]> c, Seen seen, int n) {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        while (seen.count() < n && System.nanoTime() < deadline) {
            for (ConsumerRecord<byte[], byte[]> r : Consume.poll(c, 100)) {
                seen.add(r);
            }
        }
        for (ConsumerRecord<byte[], byte[]> r : Consume.poll(c, 20)) {
            seen.add(r);
        }
        want(seen.count() == n, seen.count() + " of " + n + " records");
    }

    /** first polls until a record comes. */
    static ConsumerRecord<byte[], byte[]> first(KafkaConsumer<byte[], byte[]> c) {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (System.nanoTime() < deadline) {
            for (ConsumerRecord<byte[], byte[]> r : Consume.poll(c, 100)) {
                return r;
            }
        }
        throw new AssertionError("no record within 20 s");
    }

    static String produced(String codec, String acks, int n) throws Exception {
        String topic = codec + "-" + acks;
        try (KafkaProducer<byte[], byte[]> p = producer(codec, acks)) {
            send(p, topic, 0, n, !acks.equals("0"));
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer(null)) {
            c.assign(partitions(topic));
            Consume.seekToBeginning(c, partitions(topic));
            readAll(c, new Seen(topic, n), n);
        }
        return n + " records";
    }

    /** Member is one consumer of a group in its own thread; it commits all that it was given before it asks for more. */
    static final class Member extends Thread implements ConsumerRebalanceListener {
        final Seen seen;
        final String group;
        final AtomicReference<Throwable> problem;
        volatile boolean stop;
        volatile int assigned;
        volatile int rebalances;

        Member(String group, Seen seen, AtomicReference<Throwable> problem) {
            this.group = group;
            this.seen = seen;
            this.problem = problem;
            start();
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> list) {
            assigned = 0;
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> list) {
            assigned = list.size();
            rebalances++;
        }

        @Override
        public void run() {
            try (KafkaConsumer<byte[], byte[]> c = consumer(group)) {
                c.subscribe(Arrays.asList(seen.topic), this);
                while (!stop) {
                    boolean any = false;
                    for (ConsumerRecord<byte[], byte[]> r : Consume.poll(c, 20)) {
                        seen.add(r);
                        any = true;
                    }
                    if (any) {
                        c.commitSync();
                    }
                }
            } catch (Throwable e) {
                problem.compareAndSet(null, e);
            }
        }

        void leave() throws Exception {
            stop = true;
            join();
        }
    }

    interface Condition {
        boolean holds();
    }

    static void await(AtomicReference<Throwable> problem, String what, Condition c) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
        while (!c.holds()) {
            if (problem.get() != null) {
                throw new Exception(what, problem.get());
            }
            want(System.nanoTime() < deadline, what + " did not come within 40 s");
            Thread.sleep(2);
        }
    }

    static String group(String codec, String acks, int n) throws Exception {
        String topic = "big";
        Seen seen = new Seen(topic, n);
        AtomicReference<Throwable> problem = new AtomicReference<>();
        try (KafkaProducer<byte[], byte[]> p = producer(codec, acks)) {
            p.partitionsFor(topic);
            Member a = new Member("g", seen, problem);
            Member b = new Member("g", seen, problem);
            await(problem, "both members have partitions", () -> a.assigned + b.assigned == PARTITIONS && a.assigned > 0 && b.assigned > 0);
            send(p, topic, 0, n / 3, true);
            await(problem, "the first third", () -> seen.count() >= n / 3);
            b.leave();
            await(problem, "the member that stays has all", () -> a.assigned == PARTITIONS);
            send(p, topic, n / 3, n / 2, true);
            await(problem, "the second part", () -> seen.count() >= n / 2);
            Member c = new Member("g", seen, problem);
            send(p, topic, n / 2, n, true);
            await(problem, "the new member has partitions", () -> a.assigned + c.assigned == PARTITIONS && a.assigned > 0 && c.assigned > 0);
            await(problem, "all records", () -> seen.count() >= n);
            a.leave();
            c.leave();
        }
        if (problem.get() != null) {
            throw new Exception("a member", problem.get());
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("g")) {
            long sum = 0;
            for (TopicPartition p : partitions(topic)) {
                OffsetAndMetadata o = Consume.committed(c, p);
                sum += o == null ? 0 : o.offset();
            }
            want(sum == n, "committed " + sum + " of " + n);
        }
        return n + " records";
    }

    static String regex() throws Exception {
        try (KafkaProducer<byte[], byte[]> p = producer("none", "1"); KafkaConsumer<byte[], byte[]> c = consumer("regex")) {
            send(p, "re-1", 0, 10, true);
            send(p, "other-re", 0, 10, true);
            c.subscribe(Pattern.compile("re-.*"), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> list) {}

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> list) {}
            });
            readAll(c, new Seen("re-1", 10), 10);
            c.commitSync();
            send(p, "re-2", 0, 10, true);
            readAll(c, new Seen("re-2", 10), 10);
            Set<String> topics = new HashSet<>();
            for (TopicPartition t : c.assignment()) {
                topics.add(t.topic());
            }
            want(topics.equals(new HashSet<>(Arrays.asList("re-1", "re-2"))), "assigned " + topics);
        }
        return "and a topic made later";
    }

    static String seek() throws Exception {
        String topic = "seek";
        TopicPartition p0 = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> p = producer("gzip", "all")) {
            for (int i = 0; i < 1000; i++) {
                Consume.sendAt(p, p0, key(i), value(topic, i), i, 1600000000000L + 1000L * i);
                if (i % 50 == 49) {
                    p.flush();
                }
            }
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer(null)) {
            List<TopicPartition> list = Collections.singletonList(p0);
            c.assign(list);
            c.seek(p0, 517);
            want(first(c).offset() == 517, "seek to an offset");
            Consume.seekToEnd(c, list);
            want(c.position(p0) == 1000, "end " + c.position(p0));
            Consume.seekToBeginning(c, list);
            want(c.position(p0) == 0, "start " + c.position(p0));
            want(first(c).offset() == 0, "first");
            if (Consume.TIMESTAMPS) {
                want(Consume.offsetForTime(c, p0, 1600000000000L + 333000) == 333, "time of a record");
                want(Consume.offsetForTime(c, p0, 1600000000000L + 333001) == 334, "time between records");
                want(Consume.offsetForTime(c, p0, 1600000000000L) == 0, "the first time");
                want(Consume.offsetForTime(c, p0, 1700000000000L) == -1, "a time after all");
                c.seek(p0, 0);
                ConsumerRecord<byte[], byte[]> r = first(c);
                Consume.checkTimestamp(r, 1600000000000L);
            }
        }
        return Consume.TIMESTAMPS ? "offset, start, end, timestamp" : "offset, start, end; no timestamps in this release";
    }

    static String pause() throws Exception {
        String topic = "pause";
        try (KafkaProducer<byte[], byte[]> p = producer("none", "1"); KafkaConsumer<byte[], byte[]> c = consumer(null)) {
            send(p, topic, 0, 300, true);
            List<TopicPartition> all = partitions(topic);
            c.assign(all);
            Consume.seekToBeginning(c, all);
            Consume.pause(c, all);
            for (int i = 0; i < 5; i++) {
                want(Consume.poll(c, 40).isEmpty(), "a record while paused");
            }
            Consume.resume(c, all);
            readAll(c, new Seen(topic, 300), 300);
        }
        return "";
    }

    static String commits() throws Exception {
        String topic = "commits";
        TopicPartition p0 = new TopicPartition(topic, 0);
        List<TopicPartition> list = Collections.singletonList(p0);
        try (KafkaProducer<byte[], byte[]> p = producer("none", "1")) {
            for (int i = 0; i < 100; i++) {
                Consume.sendAt(p, p0, key(i), value(topic, i), i, System.currentTimeMillis());
            }
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("commits")) {
            c.assign(list);
            want(Consume.committed(c, p0) == null, "a commit that nobody made");
            c.commitSync(Collections.singletonMap(p0, new OffsetAndMetadata(10, "note")));
            OffsetAndMetadata o = Consume.committed(c, p0);
            want(o.offset() == 10 && o.metadata().equals("note"), "committed " + o);
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("commits")) {
            c.assign(list);
            want(first(c).offset() == 10, "restart after a synchronous commit");
            CountDownLatch done = new CountDownLatch(1);
            AtomicReference<Exception> problem = new AtomicReference<>();
            c.commitAsync(Collections.singletonMap(p0, new OffsetAndMetadata(20)), (m, e) -> {
                problem.set(e);
                done.countDown();
            });
            for (int i = 0; i < 200 && done.getCount() > 0; i++) {
                Consume.poll(c, 20);
            }
            want(done.getCount() == 0, "no answer to an asynchronous commit");
            want(problem.get() == null, "asynchronous commit: " + problem.get());
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("commits")) {
            c.assign(list);
            want(first(c).offset() == 20, "restart after an asynchronous commit");
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("auto", "enable.auto.commit", "true", "auto.commit.interval.ms", "50")) {
            c.subscribe(Arrays.asList(topic));
            readAll(c, new Seen(topic, 100), 100);
        }
        try (KafkaConsumer<byte[], byte[]> c = consumer("auto")) {
            want(Consume.committed(c, p0) != null && Consume.committed(c, p0).offset() == 100, "committed " + Consume.committed(c, p0));
            c.subscribe(Arrays.asList(topic));
            for (int i = 0; i < 10; i++) {
                want(Consume.poll(c, 50).isEmpty(), "a record after all were committed");
            }
        }
        return "sync, async, automatic, restart";
    }

    static String listed() {
        try (KafkaConsumer<byte[], byte[]> c = consumer(null)) {
            Map<String, List<PartitionInfo>> topics = c.listTopics();
            want(topics.containsKey("big") && topics.get("big").size() == PARTITIONS, "topics " + topics.keySet());
            for (PartitionInfo p : topics.get("big")) {
                want(p.leader() != null && p.replicas().length == 1 && p.inSyncReplicas().length == 1, "partition " + p);
            }
            return topics.size() + " topics";
        }
    }

    public static void main(String[] args) {
        bootstrap = args[0];
        String[] codecs = args[1].split(",");
        String[] acks = args[2].split(",");
        int records = Integer.parseInt(args[3]);
        Topics.checks();
        for (String codec : codecs) {
            for (String a : acks) {
                check("produce " + codec + " acks=" + a + ", assign", () -> produced(codec, a, 2000));
            }
        }
        check("group: two members, one leaves, one joins", () -> group(codecs[codecs.length - 1], acks[acks.length - 1], records));
        check("list topics", Matrix::listed);
        check("regular expression", Matrix::regex);
        check("seek", Matrix::seek);
        check("pause and resume", Matrix::pause);
        check("commit and restart", Matrix::commits);
        System.exit(failed == 0 ? 0 : 1);
    }
}
