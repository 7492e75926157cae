import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Topics checks the admin client of releases since 3.1. */
final class Topics {
    static void checks() {
        Matrix.check("create, describe, configure, delete topics", Topics::topics);
        Matrix.check("delete records, list offsets", Topics::records);
        Matrix.check("describe and delete groups and their offsets", Topics::groups);
        Matrix.check("describe cluster, quorum, log dirs, producers", Topics::cluster);
    }

    static void refused(Class<? extends Exception> want, org.apache.kafka.common.KafkaFuture<?> f) throws Exception {
        try {
            f.get();
        } catch (ExecutionException e) {
            Matrix.want(want.isInstance(e.getCause()), "refused with " + e.getCause());
            return;
        }
        throw new AssertionError("not refused: " + want);
    }

    static String topics() throws Exception {
        try (Admin a = Admin.create(Matrix.base())) {
            NewTopic made = new NewTopic("made", 5, (short) 1).configs(Collections.singletonMap("retention.ms", "3600000"));
            org.apache.kafka.clients.admin.CreateTopicsResult created = a.createTopics(Arrays.asList(made, new NewTopic("gone", 1, (short) 1)));
            created.all().get();
            Matrix.want(created.numPartitions("made").get() == 5, "created");
            Matrix.want("3600000".equals(created.config("made").get().get("retention.ms").value()), "created with " + created.config("made").get());
            TopicDescription d = a.describeTopics(Collections.singleton("made")).allTopicNames().get().get("made");
            Matrix.want(d.partitions().size() == 5 && d.partitions().get(4).leader() != null, "described " + d);
            Matrix.want(d.topicId().equals(created.topicId("made").get()), "topic id " + d);
            TopicDescription same = a.describeTopics(org.apache.kafka.common.TopicCollection.ofTopicIds(Collections.singleton(d.topicId()))).allTopicIds().get().get(d.topicId());
            Matrix.want(same.name().equals("made"), "by id " + same);
            ConfigResource r = new ConfigResource(ConfigResource.Type.TOPIC, "made");
            Matrix.want(value(a, r, "retention.ms").equals("3600000"), "retention.ms");
            a.incrementalAlterConfigs(ops(r, "max.message.bytes", "5000", AlterConfigOp.OpType.SET)).all().get();
            Matrix.want(value(a, r, "max.message.bytes").equals("5000"), "max.message.bytes");
            Matrix.want(value(a, r, "retention.ms").equals("3600000"), "retention.ms is gone");
            a.incrementalAlterConfigs(ops(r, "max.message.bytes", "", AlterConfigOp.OpType.DELETE)).all().get();
            Matrix.want(value(a, r, "max.message.bytes").equals("1048588"), "max.message.bytes after its end");
            refused(InvalidConfigurationException.class, a.incrementalAlterConfigs(ops(r, "retention.ms", "soon", AlterConfigOp.OpType.SET)).all());
            a.createPartitions(Collections.singletonMap("made", NewPartitions.increaseTo(7))).all().get();
            d = a.describeTopics(Collections.singleton("made")).allTopicNames().get().get("made");
            Matrix.want(d.partitions().size() == 7, "after growth " + d);
            a.deleteTopics(Collections.singleton("gone")).all().get();
            Set<String> names = a.listTopics().names().get();
            Matrix.want(names.contains("made") && !names.contains("gone"), "topics " + names);
            refused(TopicExistsException.class, a.createTopics(Collections.singleton(made)).all());
            refused(UnknownTopicOrPartitionException.class, a.describeTopics(Collections.singleton("gone")).allTopicNames());
            refused(UnknownTopicOrPartitionException.class, a.deleteTopics(Collections.singleton("gone")).all());
        }
        return "";
    }

    static Map<ConfigResource, Collection<AlterConfigOp>> ops(ConfigResource r, String name, String value, AlterConfigOp.OpType op) {
        return Collections.singletonMap(r, Collections.singleton(new AlterConfigOp(new ConfigEntry(name, value), op)));
    }

    static String value(Admin a, ConfigResource r, String name) throws Exception {
        return a.describeConfigs(Collections.singleton(r)).all().get().get(r).get(name).value();
    }

    static String records() throws Exception {
        TopicPartition p0 = new TopicPartition("cut", 0);
        try (Admin a = Admin.create(Matrix.base()); KafkaProducer<byte[], byte[]> p = Matrix.producer("none", "1")) {
            a.createTopics(Collections.singleton(new NewTopic("cut", 1, (short) 1))).all().get();
            for (int i = 0; i < 100; i++) {
                Consume.sendAt(p, p0, Matrix.key(i), Matrix.value("cut", i), i, 1000L + (i == 50 ? 9999 : i));
            }
            p.flush();
            Matrix.want(a.deleteRecords(Collections.singletonMap(p0, RecordsToDelete.beforeOffset(30))).lowWatermarks().get(p0).get().lowWatermark() == 30, "low watermark");
            Matrix.want(offset(a, p0, OffsetSpec.earliest()) == 30, "earliest");
            Matrix.want(offset(a, p0, OffsetSpec.latest()) == 100, "latest");
            Matrix.want(offset(a, p0, OffsetSpec.maxTimestamp()) == 50, "max timestamp");
            Matrix.want(offset(a, p0, OffsetSpec.forTimestamp(1060)) == 50, "timestamp");
        }
        return "";
    }

    static long offset(Admin a, TopicPartition p, OffsetSpec spec) throws Exception {
        return a.listOffsets(Collections.singletonMap(p, spec)).all().get().get(p).offset();
    }

    static String groups() throws Exception {
        try (Admin a = Admin.create(Matrix.base()); KafkaProducer<byte[], byte[]> p = Matrix.producer("none", "1")) {
            a.createTopics(Collections.singleton(new NewTopic("grouped", 2, (short) 1))).all().get();
            Matrix.send(p, "grouped", 0, 100, true);
            TopicPartition p0 = new TopicPartition("grouped", 0);
            try (org.apache.kafka.clients.consumer.KafkaConsumer<byte[], byte[]> c = Matrix.consumer("described", "client.id", "me", "group.instance.id", "static-1")) {
                c.subscribe(List.of("grouped"));
                Matrix.first(c);
                c.commitSync();
                ConsumerGroupDescription d = a.describeConsumerGroups(List.of("described")).all().get().get("described");
                Matrix.want(d.members().size() == 1 && d.members().iterator().next().clientId().equals("me"), "group " + d);
                Matrix.want(d.members().iterator().next().groupInstanceId().get().equals("static-1"), "group " + d);
                Matrix.want(d.members().iterator().next().assignment().topicPartitions().size() == 2, "group " + d);
                Matrix.want(d.partitionAssignor().equals("range"), "group " + d);
                Matrix.want(a.listConsumerGroups().all().get().stream().anyMatch(g -> g.groupId().equals("described")), "groups");
                refused(org.apache.kafka.common.errors.GroupNotEmptyException.class, a.deleteConsumerGroups(List.of("described")).all());
            }
            a.removeMembersFromConsumerGroup("described", new org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions()).all().get();
            Map<TopicPartition, OffsetAndMetadata> set = new HashMap<>();
            set.put(p0, new OffsetAndMetadata(7, "by hand"));
            a.alterConsumerGroupOffsets("described", set).all().get();
            OffsetAndMetadata o = a.listConsumerGroupOffsets("described").partitionsToOffsetAndMetadata().get().get(p0);
            Matrix.want(o.offset() == 7 && o.metadata().equals("by hand"), "offset " + o);
            a.deleteConsumerGroupOffsets("described", Collections.singleton(p0)).all().get();
            Matrix.want(!a.listConsumerGroupOffsets("described").partitionsToOffsetAndMetadata().get().containsKey(p0), "offset after its end");
            a.deleteConsumerGroups(List.of("described")).all().get();
            Matrix.want(a.listConsumerGroups().all().get().stream().noneMatch(g -> g.groupId().equals("described")), "groups");
        }
        return "";
    }

    static String cluster() throws Exception {
        try (Admin a = Admin.create(Matrix.base())) {
            Matrix.want(a.describeCluster().nodes().get().size() == 1, "nodes");
            int id = a.describeCluster().nodes().get().iterator().next().id();
            Matrix.want(a.describeCluster().controller().get().id() == id, "controller");
            Matrix.want(a.describeMetadataQuorum().quorumInfo().get().leaderId() == id, "quorum " + a.describeMetadataQuorum().quorumInfo().get());
            Matrix.want(!a.describeLogDirs(List.of(id)).allDescriptions().get().get(id).isEmpty(), "log dirs");
            Matrix.want(a.describeProducers(List.of(new TopicPartition("cut", 0))).all().get().size() == 1, "producers");
            Matrix.want(!a.describeFeatures().featureMetadata().get().finalizedFeatures().isEmpty(), "features");
            ConfigResource r = new ConfigResource(ConfigResource.Type.BROKER, "" + id);
            Matrix.want(value(a, r, "num.partitions").equals("3"), "num.partitions");
        }
        return "";
    }
}
