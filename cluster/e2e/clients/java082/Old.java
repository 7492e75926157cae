import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import kafka.api.FetchRequestBuilder;
import kafka.api.PartitionOffsetRequestInfo;
import kafka.common.ErrorMapping;
import kafka.common.TopicAndPartition;
import kafka.javaapi.FetchResponse;
import kafka.javaapi.OffsetRequest;
import kafka.javaapi.PartitionMetadata;
import kafka.javaapi.TopicMetadata;
import kafka.javaapi.TopicMetadataRequest;
import kafka.javaapi.consumer.SimpleConsumer;
import kafka.javaapi.producer.Producer;
import kafka.message.MessageAndOffset;
import kafka.producer.KeyedMessage;
import kafka.producer.ProducerConfig;

/**
 * Old runs the Scala clients of 0.8.2 that need no ZooKeeper: the old producer with a list of brokers, and SimpleConsumer.
 *
 * <p>Arguments: BOOTSTRAP CODECS ACKS RECORDS, the lists with commas; num.partitions of the broker is 3. They had neither
 * headers nor timestamps, and their groups lived in ZooKeeper.
 */
public final class Old {
    static String host;
    static int port;
    static int failed;

    interface Check {
        String run() throws Exception;
    }

    static void check(String name, Check c) {
        long start = System.nanoTime();
        boolean ok = true;
        String detail;
        try {
            detail = c.run();
        } catch (Throwable e) {
            ok = false;
            failed++;
            detail = e + " at " + e.getStackTrace()[0];
        }
        System.out.println("{\"check\":\"" + name + "\",\"ok\":" + ok + ",\"ms\":" + (System.nanoTime() - start) / 1000000 + ",\"detail\":\""
                + detail.replaceAll("[^ -~]", " ").replace("\\", "/").replace("\"", "'") + "\"}");
    }

    static void want(boolean ok, String what) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }

    static String value(String topic, int i) {
        StringBuilder b = new StringBuilder(topic + "-" + i + "-");
        for (int n = i % 97; n > 0; n--) {
            b.append('x');
        }
        return b.toString();
    }

    static SimpleConsumer consumer() {
        return new SimpleConsumer(host, port, 10000, 64 * 1024, "old");
    }

    /** leaders asks for a topic's partitions until all have a leader, which makes the topic. */
    static int leaders(SimpleConsumer c, String topic) throws Exception {
        for (int tries = 0; tries < 1000; tries++) {
            TopicMetadata t = c.send(new TopicMetadataRequest(Collections.singletonList(topic))).topicsMetadata().get(0);
            boolean all = t.errorCode() == ErrorMapping.NoError() && !t.partitionsMetadata().isEmpty();
            for (PartitionMetadata p : t.partitionsMetadata()) {
                all &= p.errorCode() == ErrorMapping.NoError() && p.leader() != null && p.leader().port() == port && p.isr().size() == 1;
            }
            if (all) {
                return t.partitionsMetadata().size();
            }
            Thread.sleep(10);
        }
        throw new AssertionError("no leaders of " + topic);
    }

    static void send(String topic, String codec, String acks, int n) {
        Properties p = new Properties();
        p.put("metadata.broker.list", host + ":" + port);
        p.put("serializer.class", "kafka.serializer.StringEncoder");
        p.put("compression.codec", codec);
        p.put("request.required.acks", acks);
        Producer<String, String> producer = new Producer<>(new ProducerConfig(p));
        try {
            for (int i = 0; i < n;) {
                List<KeyedMessage<String, String>> batch = new ArrayList<>();
                for (int end = Math.min(n, i + 200); i < end; i++) {
                    batch.add(new KeyedMessage<>(topic, "k" + i, value(topic, i)));
                }
                producer.send(batch);
            }
        } finally {
            producer.close();
        }
    }

    static String text(ByteBuffer b) {
        byte[] bytes = new byte[b.remaining()];
        b.get(bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    static long offset(SimpleConsumer c, String topic, int partition, long time) {
        TopicAndPartition p = new TopicAndPartition(topic, partition);
        Map<TopicAndPartition, PartitionOffsetRequestInfo> ask = new HashMap<>();
        ask.put(p, new PartitionOffsetRequestInfo(time, 1));
        kafka.javaapi.OffsetResponse r = c.getOffsetsBefore(new OffsetRequest(ask, kafka.api.OffsetRequest.CurrentVersion(), "old"));
        want(!r.hasError() && r.offsets(topic, partition).length == 1, "offsets of time " + time + ": error " + r.errorCode(topic, partition));
        return r.offsets(topic, partition)[0];
    }

    static void read(SimpleConsumer c, String topic, int n) {
        Set<Integer> seen = new HashSet<>();
        for (int partition = 0; partition < 3; partition++) {
            long end = offset(c, topic, partition, kafka.api.OffsetRequest.LatestTime());
            long next = offset(c, topic, partition, kafka.api.OffsetRequest.EarliestTime());
            want(next == 0, "the start is " + next);
            int last = -1;
            for (int tries = 0; next < end; tries++) {
                want(tries < 10000, "no progress at " + next);
                FetchResponse r = c.fetch(new FetchRequestBuilder().clientId("old").addFetch(topic, partition, next, 20000).maxWait(100).minBytes(1).build());
                want(!r.hasError(), "fetch: error " + r.errorCode(topic, partition));
                want(r.highWatermark(topic, partition) == end, "high watermark");
                for (MessageAndOffset m : r.messageSet(topic, partition)) {
                    if (m.offset() < next) {
                        continue; // of a compressed set whose beginning was read
                    }
                    m.message().ensureValid();
                    want(m.offset() == next, "offset " + m.offset() + ", want " + next);
                    next = m.nextOffset();
                    int i = Integer.parseInt(text(m.message().key()).substring(1));
                    want(text(m.message().payload()).equals(value(topic, i)), "value of " + i);
                    want(seen.add(i), "record " + i + " again");
                    want(last < i, "record " + i + " after " + last);
                    last = i;
                }
            }
        }
        want(seen.size() == n, seen.size() + " of " + n + " records");
    }

    public static void main(String[] args) {
        String[] parts = args[0].split(":");
        host = parts[0];
        port = Integer.parseInt(parts[1]);
        SimpleConsumer c = consumer();
        for (String codec : args[1].split(",")) {
            for (String acks : args[2].split(",")) {
                check("old producer " + codec + " acks=" + acks + ", SimpleConsumer", () -> {
                    String topic = codec + "-" + acks.replace("-", "m");
                    int n = Integer.parseInt(args[3]);
                    want(leaders(c, topic) == 3, "partitions");
                    send(topic, codec, acks, n);
                    // acks=0 tells nothing: wait until all is there.
                    for (int tries = 0; tries < 1000; tries++) {
                        long sum = 0;
                        for (int p = 0; p < 3; p++) {
                            sum += offset(c, topic, p, kafka.api.OffsetRequest.LatestTime());
                        }
                        if (sum == n) {
                            break;
                        }
                        Thread.sleep(10);
                    }
                    read(c, topic, n);
                    return n + " records";
                });
            }
        }
        check("an offset past the end is refused", () -> {
            FetchResponse r = c.fetch(new FetchRequestBuilder().clientId("old").addFetch("none-1", 0, 1 << 30, 1000).build());
            want(r.errorCode("none-1", 0) == ErrorMapping.OffsetOutOfRangeCode(), "error " + r.errorCode("none-1", 0));
            return "";
        });
        System.exit(failed == 0 ? 0 : 1);
    }
}
