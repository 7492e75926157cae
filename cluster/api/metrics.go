package api

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// Metrics are what /metrics tells. The Prometheus client library keeps them; counters are looked up once, here.
type Metrics struct {
	Registry                    *prometheus.Registry
	requests                    map[wire.APIKey]prometheus.Counter
	connections                 *prometheus.GaugeVec
	ProducedBytes, FetchedBytes prometheus.Counter
}

// NewMetrics returns the metrics of one node, all at zero.
func NewMetrics() *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry(), requests: map[wire.APIKey]prometheus.Counter{}}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kraftgo_requests_total", Help: "Requests taken, by API key."}, []string{"request"})
	for _, h := range handlers {
		m.requests[h.key] = requests.WithLabelValues(message.Name(h.key))
	}
	m.connections = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kraftgo_connections", Help: "Open client connections, by listener."}, []string{"listener"})
	m.ProducedBytes = prometheus.NewCounter(prometheus.CounterOpts{Name: "kraftgo_produced_bytes_total", Help: "Bytes of record batches appended for producers."})
	m.FetchedBytes = prometheus.NewCounter(prometheus.CounterOpts{Name: "kraftgo_fetched_bytes_total", Help: "Bytes of records answered to consumers."})
	m.Registry.MustRegister(requests, m.connections, m.ProducedBytes, m.FetchedBytes,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Metrics) request(key wire.APIKey) { m.requests[key].Inc() }

// Connections returns the function that a listener reports its open connections to.
func (m *Metrics) Connections(listener string) func(open int) {
	g := m.connections.WithLabelValues(listener)
	return func(open int) { g.Set(float64(open)) }
}

// WatchHash adds what tells whether the brokers' metadata is the same.
func (m *Metrics) WatchHash(image func() *metadata.Image, compared func() (same, other int64)) {
	counter := func(name, help string, f func() int64) {
		m.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(f()) }))
	}
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kraftgo_metadata_hash", Help: "The low 52 bits of the hash of the metadata: equal on brokers with equal kraftgo_metadata_index.",
	}, func() float64 { return float64(image().Hash().Low()) }))
	counter("kraftgo_metadata_compared_total", "Heartbeats, to this broker as the controller, whose metadata was the same as here.", func() int64 { same, _ := compared(); return same })
	counter("kraftgo_metadata_differences_total", "Heartbeats, to this broker as the controller, whose metadata differed at the same index.", func() int64 { _, other := compared(); return other })
}

// WatchElections adds the elections of leaders that this broker sees, under the names that Kafka's have. There the active controller
// counts alone; here each broker counts what it learns, so that the count does not go with a controller.
func (m *Metrics) WatchElections(elected func() (all, unclean int64)) {
	counter := func(name, help string, f func() int64) {
		m.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(f()) }))
	}
	counter("kafka_controller_controllerstats_leaderelections_total", "Leaders of partitions elected in the cluster, as this broker has seen since its start.", func() int64 { all, _ := elected(); return all })
	counter("kafka_controller_controllerstats_uncleanleaderelections_total", "Those whose leader was neither in sync nor eligible before (KIP-966).", func() int64 { _, unclean := elected(); return unclean })
}

// Watch adds what is read from the partitions and the metadata when somebody asks.
func (m *Metrics) Watch(partitions *replica.Manager, image func() *metadata.Image) {
	gauge := func(name, help string, f func() float64) {
		m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	gauge("kraftgo_topics", "Topics in the cluster.", func() float64 { return float64(image().TopicCount()) })
	gauge("kraftgo_partitions", "Partitions in the cluster.", func() float64 { return float64(image().PartitionCount()) })
	gauge("kraftgo_metadata_index", "Index of the last metadata command applied here.", func() float64 { return float64(image().Index()) })
	gauge("kraftgo_log_size_bytes", "Bytes in the logs of this broker.", func() float64 {
		total := int64(0)
		for _, p := range partitions.All() {
			total += p.Log().Size()
		}
		return float64(total)
	})
	m.watchReplicas(partitions, image)
}

// watchReplicas adds what operators alert on, under the names that Kafka's metrics have when the JMX exporter gives them to
// Prometheus.
func (m *Metrics) watchReplicas(partitions *replica.Manager, image func() *metadata.Image) {
	gauge := func(name, help string, f func(replica.Summary) int) {
		m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(f(partitions.Summary())) }))
	}
	counter := func(name, help string, f func(replica.Summary) int64) {
		m.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(f(partitions.Summary())) }))
	}
	gauge("kafka_server_replicamanager_leadercount", "Partitions led by this broker.", func(s replica.Summary) int { return s.Leading })
	gauge("kafka_server_replicamanager_partitioncount", "Replicas on this broker.", func(s replica.Summary) int { return s.Leading + s.Following })
	gauge("kafka_server_replicamanager_underreplicatedpartitions", "Partitions led here with fewer in-sync replicas than replicas, without those that a reassignment adds.", func(s replica.Summary) int { return s.UnderReplicated })
	gauge("kafka_server_replicamanager_underminisrpartitioncount", "Partitions led here with fewer in-sync replicas than min.insync.replicas.", func(s replica.Summary) int { return s.UnderMinInSync })
	gauge("kafka_server_replicamanager_atminisrpartitioncount", "Partitions led here with exactly min.insync.replicas in sync.", func(s replica.Summary) int { return s.AtMinInSync })
	gauge("kraftgo_replica_lag_max_records", "Records that the slowest follower of a partition led here lacks.", func(s replica.Summary) int { return int(s.LargestLag) })
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kraftgo_replica_lag_max_bytes", Help: "Bytes that the follower lacks which lacks most of a partition led here, to within an index interval.",
	}, func() float64 { return float64(partitions.LargestLagBytes()) }))
	counter("kafka_server_replicamanager_isrshrinks_total", "Times that a replica left the in-sync replicas of a partition led here.", func(s replica.Summary) int64 { return s.Shrinks })
	counter("kafka_server_replicamanager_isrexpands_total", "Times that a replica joined the in-sync replicas of a partition led here.", func(s replica.Summary) int64 { return s.Expands })
	rate := func(name, help string, t *replica.Throttle) {
		m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, t.ByteRate))
	}
	rate("kafka_server_leaderreplication_byte_rate", "Bytes a second sent of throttled partitions led here to followers not in sync, over the last ten seconds.", partitions.Sending())
	rate("kafka_server_followerreplication_byte_rate", "Bytes a second fetched for throttled replicas here that are not in sync, over the last ten seconds.", partitions.Fetching())
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kafka_controller_kafkacontroller_offlinepartitionscount", Help: "Partitions of the cluster that have no leader.",
	}, func() float64 { return float64(offlinePartitions(image())) }))
}

func offlinePartitions(m *metadata.Image) (n int) {
	m.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			if t.Partitions[i].Leader == wire.NoBroker {
				n++
			}
		}
		return true
	})
	return n
}
