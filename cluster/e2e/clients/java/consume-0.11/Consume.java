import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** Consume is what releases from 0.11 to 2.3 do their own way. */
final class Consume {
    static final boolean HEADERS = true;
    static final boolean TIMESTAMPS = true;

    static ConsumerRecords<byte[], byte[]> poll(KafkaConsumer<byte[], byte[]> c, long ms) {
        return c.poll(ms);
    }

    static OffsetAndMetadata committed(KafkaConsumer<byte[], byte[]> c, TopicPartition p) {
        return c.committed(p);
    }

    static void seekToBeginning(KafkaConsumer<byte[], byte[]> c, List<TopicPartition> list) {
        c.seekToBeginning(list);
    }

    static void seekToEnd(KafkaConsumer<byte[], byte[]> c, List<TopicPartition> list) {
        c.seekToEnd(list);
    }

    static void pause(KafkaConsumer<byte[], byte[]> c, List<TopicPartition> list) {
        c.pause(list);
    }

    static void resume(KafkaConsumer<byte[], byte[]> c, List<TopicPartition> list) {
        c.resume(list);
    }

    static ProducerRecord<byte[], byte[]> record(String topic, byte[] key, byte[] value, int i) {
        return new ProducerRecord<>(topic, null, null, key, value, headers(i));
    }

    static void sendAt(KafkaProducer<byte[], byte[]> p, TopicPartition to, byte[] key, byte[] value, int i, long time) {
        p.send(new ProducerRecord<>(to.topic(), to.partition(), time, key, value, headers(i)));
    }

    static void checkHeaders(ConsumerRecord<byte[], byte[]> r, int i) {
        Header[] h = r.headers().toArray();
        boolean ok = h.length == 2 && h[0].key().equals("n") && Arrays.equals(h[0].value(), Matrix.key(i));
        Matrix.want(ok && h[1].key().equals("null") && h[1].value() == null, "headers " + Arrays.toString(h));
    }

    static Iterable<Header> headers(int i) {
        return Arrays.<Header>asList(new RecordHeader("n", Matrix.key(i)), new RecordHeader("null", (byte[]) null));
    }

    static void checkTimestamp(ConsumerRecord<byte[], byte[]> r, long time) {
        Matrix.want(r.timestamp() == time, "timestamp " + r.timestamp());
    }

    static long offsetForTime(KafkaConsumer<byte[], byte[]> c, TopicPartition p, long time) {
        OffsetAndTimestamp o = c.offsetsForTimes(Collections.singletonMap(p, time)).get(p);
        return o == null ? -1 : o.offset();
    }
}
