import java.util.Arrays;
import java.util.Collections;
import java.util.Set;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.config.ConfigResource;

/** Topics checks the admin client as 0.11 had it first. */
final class Topics {
    static void checks() {
        Matrix.check("create, describe, configure, delete topics", Topics::all);
    }

    static String all() throws Exception {
        try (AdminClient a = AdminClient.create(Matrix.base())) {
            Matrix.want(a.describeCluster().nodes().get().size() == 1, "nodes");
            NewTopic made = new NewTopic("made", 5, (short) 1).configs(Collections.singletonMap("retention.ms", "3600000"));
            a.createTopics(Arrays.asList(made, new NewTopic("gone", 1, (short) 1))).all().get();
            TopicDescription d = a.describeTopics(Collections.singleton("made")).all().get().get("made");
            Matrix.want(d.partitions().size() == 5 && d.partitions().get(4).leader() != null, "described " + d);
            ConfigResource r = new ConfigResource(ConfigResource.Type.TOPIC, "made");
            Matrix.want(value(a, r, "retention.ms").equals("3600000"), "retention.ms");
            a.alterConfigs(Collections.singletonMap(r, new Config(Collections.singleton(new ConfigEntry("max.message.bytes", "5000"))))).all().get();
            Matrix.want(value(a, r, "max.message.bytes").equals("5000"), "max.message.bytes");
            Matrix.want(!value(a, r, "retention.ms").equals("3600000"), "retention.ms is still there");
            a.deleteTopics(Collections.singleton("gone")).all().get();
            Set<String> names = a.listTopics().names().get();
            Matrix.want(names.contains("made") && !names.contains("gone"), "topics " + names);
            try {
                a.createTopics(Collections.singleton(made)).all().get();
                throw new AssertionError("made twice");
            } catch (java.util.concurrent.ExecutionException e) {
                Matrix.want(e.getCause() instanceof org.apache.kafka.common.errors.TopicExistsException, "made twice: " + e);
            }
        }
        return "";
    }

    static String value(AdminClient a, ConfigResource r, String name) throws Exception {
        return a.describeConfigs(Collections.singleton(r)).all().get().get(r).get(name).value();
    }
}
