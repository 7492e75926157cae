import java.io.BufferedOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * Steady writes to all partitions of a topic at a steady rate, with the settings that Kafka's producer has by itself (idempotent,
 * acks=all), and reads the topic at the same time, until its standard input ends; then it reads on to the end of the topic.
 *
 * <p>Arguments: BOOTSTRAP TOPIC PARTITIONS RATE. It prints "a PARTITION SEQUENCE OFFSET" for each record that was acknowledged, "f
 * PARTITION SEQUENCE REASON" for each that was not, "r PARTITION SEQUENCE OFFSET" for each that was read, and at last "end SENT".
 */
public final class Steady {
    static final PrintStream OUT = new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);
    static volatile boolean stopped;
    static volatile boolean written; // all that was sent is acknowledged, or has failed

    public static void main(String[] args) throws Exception {
        String topic = args[1];
        int partitions = Integer.parseInt(args[2]);
        int rate = Integer.parseInt(args[3]);
        Properties common = new Properties();
        common.put("bootstrap.servers", args[0]);
        Thread reader = new Thread(() -> read(common, topic, partitions), "reader");
        reader.start();
        Thread stopper = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                }
            } catch (java.io.IOException e) {
                System.err.println(e);
            }
            stopped = true;
        }, "stopper");
        stopper.setDaemon(true);
        stopper.start();

        Properties p = new Properties();
        p.putAll(common);
        p.put("key.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
        p.put("value.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
        p.put("max.block.ms", "120000");
        long sent = 0;
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(p)) {
            long next = System.nanoTime();
            for (long sequence = 0; !stopped; sequence++) {
                for (int partition = 0; partition < partitions; partition++) {
                    int to = partition;
                    long number = sequence;
                    byte[] value = (to + "/" + number + "/from Java").getBytes(StandardCharsets.UTF_8);
                    sent++;
                    producer.send(new ProducerRecord<>(topic, to, null, value), (m, e) -> {
                        if (e == null) {
                            say("a " + to + " " + number + " " + m.offset());
                        } else {
                            say("f " + to + " " + number + " " + e);
                        }
                    });
                }
                next += 1_000_000_000L / rate;
                long wait = next - System.nanoTime();
                synchronized (OUT) {
                    OUT.flush(); // who reads notes when it came
                }
                if (wait > 0) {
                    Thread.sleep(wait / 1_000_000, (int) (wait % 1_000_000));
                } else {
                    next = System.nanoTime(); // send was held up: what was missed is not made good
                }
            }
        }
        written = true;
        reader.join();
        say("end " + sent);
        OUT.flush();
    }

    static void say(String line) {
        synchronized (OUT) {
            OUT.println(line);
        }
    }

    static void read(Properties common, String topic, int partitions) {
        Properties p = new Properties();
        p.putAll(common);
        p.put("key.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
        p.put("value.deserializer", "org.apache.kafka.common.serialization.ByteArrayDeserializer");
        p.put("auto.offset.reset", "none"); // an offset that is suddenly out of range is an error, not a reason to begin anew
        p.put("enable.auto.commit", "false");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(p)) {
            List<TopicPartition> all = new ArrayList<>();
            for (int i = 0; i < partitions; i++) {
                all.add(new TopicPartition(topic, i));
            }
            consumer.assign(all);
            for (TopicPartition at : all) {
                consumer.seek(at, 0);
            }
            Map<TopicPartition, Long> ends = new HashMap<>();
            while (true) {
                int n = 0;
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                    n++;
                    String[] words = new String(r.value(), StandardCharsets.UTF_8).split("/");
                    say("r " + r.partition() + " " + words[1] + " " + r.offset());
                }
                if (!written || n > 0) {
                    continue;
                }
                ends = consumer.endOffsets(all, Duration.ofSeconds(30));
                boolean done = true;
                for (TopicPartition at : all) {
                    done = done && consumer.position(at) >= ends.get(at);
                }
                if (done) {
                    return;
                }
            }
        } catch (RuntimeException e) {
            say("x the reader failed: " + e);
            OUT.flush();
            throw e;
        }
    }
}
