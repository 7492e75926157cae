import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** Consume is what 0.9 does its own way: it knows neither timestamps nor headers. */
final class Consume {
    static final boolean HEADERS = false;
    static final boolean TIMESTAMPS = false;

    static ConsumerRecords<byte[], byte[]> poll(KafkaConsumer<byte[], byte[]> c, long ms) {
        return c.poll(ms);
    }

    static OffsetAndMetadata committed(KafkaConsumer<byte[], byte[]> c, TopicPartition p) {
        return c.committed(p);
    }

    static void seekToBeginning(KafkaConsumer<byte[], byte[]> c, List<TopicPartition> list) {
        c.seekToBeginning(list.toArray(new TopicPartition[0]));
    }

    static void seekToEnd(KafkaConsumer<byte[], byte[]> c, List<TopicPartition> list) {
        c.seekToEnd(list.toArray(new TopicPartition[0]));
    }

    static void pause(KafkaConsumer<byte[], byte[]> c, List<TopicPartition> list) {
        c.pause(list.toArray(new TopicPartition[0]));
    }

    static void resume(KafkaConsumer<byte[], byte[]> c, List<TopicPartition> list) {
        c.resume(list.toArray(new TopicPartition[0]));
    }

    static ProducerRecord<byte[], byte[]> record(String topic, byte[] key, byte[] value, int i) {
        return new ProducerRecord<>(topic, key, value);
    }

    static void sendAt(KafkaProducer<byte[], byte[]> p, TopicPartition to, byte[] key, byte[] value, int i, long time) {
        p.send(new ProducerRecord<>(to.topic(), to.partition(), key, value));
    }

    static void checkHeaders(ConsumerRecord<byte[], byte[]> r, int i) {}

    static void checkTimestamp(ConsumerRecord<byte[], byte[]> r, long time) {}

    static long offsetForTime(KafkaConsumer<byte[], byte[]> c, TopicPartition p, long time) {
        throw new UnsupportedOperationException();
    }
}
