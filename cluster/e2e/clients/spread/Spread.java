import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.Random;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.metadata.placement.ClusterDescriber;
import org.apache.kafka.metadata.placement.PartitionAssignment;
import org.apache.kafka.metadata.placement.PlacementSpec;
import org.apache.kafka.metadata.placement.StripedReplicaPlacer;
import org.apache.kafka.metadata.placement.UsableBroker;

// Has Kafka's own placer place topics. Each line of the input is a cluster: seed, partitions, replicas, and the rack of each broker by
// its number, -1 for none. Each line of the output has its replicas, partition by partition.
public class Spread {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder out = new StringBuilder();
        for (String line; (line = in.readLine()) != null; ) {
            String[] words = line.trim().split(" ");
            List<UsableBroker> brokers = new ArrayList<>();
            for (int i = 3; i < words.length; i++) {
                int rack = Integer.parseInt(words[i]);
                brokers.add(new UsableBroker(i - 2, rack < 0 ? Optional.empty() : Optional.of("r" + rack), false));
            }
            ClusterDescriber cluster = new ClusterDescriber() {
                public Iterator<UsableBroker> usableBrokers() { return brokers.iterator(); }
                public Uuid defaultDir(int broker) { return Uuid.ZERO_UUID; }
            };
            StripedReplicaPlacer placer = new StripedReplicaPlacer(new Random(Long.parseLong(words[0])));
            for (PartitionAssignment p : placer.place(new PlacementSpec(0, Integer.parseInt(words[1]), Short.parseShort(words[2])), cluster).assignments()) {
                for (int id : p.replicas()) {
                    out.append(id).append(' ');
                }
                out.append(',');
            }
            out.append('\n');
        }
        System.out.print(out);
    }
}
