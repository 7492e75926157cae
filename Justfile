# kraftgo: recipes are conveniences; each does what the README's commands do, or more of it.

# list the recipes
default:
    @just --list

# a broker in a temporary directory
dev *ARGS:
    go run ./cmd/kraftgo dev {{ARGS}}

# build the static binary into bin/
build:
    CGO_ENABLED=0 go build -trimpath -tags urfave_cli_no_docs -ldflags="-s -w" -o bin/kraftgo ./cmd/kraftgo

# formatting, vet, staticcheck, the rules of the tree
check:
    test -z "$(gofmt -l .)"
    go vet ./...
    go tool staticcheck ./...
    go test ./cmd/tidy

# all tests
test *ARGS:
    go test {{ARGS}} ./...

# the concurrent packages under the race detector
race:
    go test -race ./cluster ./cluster/listen ./replication/... ./storage/... ./coordinator/... ./metadata/...

# the models of storage and groups, many more random runs than `test`
model CHECKS="5000":
    go test ./storage ./coordinator/group ./metadata ./replication -rapid.checks={{CHECKS}}

# every state that three brokers can come into within bounds; 'full' or the name of a run for wide ones
explore RUN="full":
    KRAFTGO_EXPLORE={{RUN}} go test -tags explore ./replication -run Explore -v -timeout 60m

# the metadata plane (raft, feed, gossip, heartbeats, fencing) of whole clusters under random faults, in simulated time: SEEDS runs
sim-metadata SEEDS="2000" FIRST="0":
    GOGC=400 SIM_SEEDS={{SEEDS}} SIM_FIRST={{FIRST}} go test ./cluster -run SimulatedMetadata -v -timeout 60m

# whole clusters with real nodes and a real client (franz-go), on networks and disks that fail, in simulated time: SEEDS runs
sim-nodes SEEDS="1000" FIRST="0":
    GOGC=400 SIM_DATA_SEEDS={{SEEDS}} SIM_FIRST={{FIRST}} go test -tags synctests ./cluster -count 1 -run SimulatedClusters -v -timeout 60m

# whole clusters in one goroutine, under faults, replayable to the byte: SEEDS runs
sim SEEDS="5000" FIRST="0":
    SIM_SEEDS={{SEEDS}} SIM_FIRST={{FIRST}} go test ./cluster/sim -run 'TestSimulate$' -v -timeout 60m

# the trace of one of them
sim-seed N:
    SIM_SEED={{N}} go test ./cluster/sim -run 'TestSimulateOne$' -v

# one of them twice: the traces must be the same to the byte
sim-twice N:
    SIM_SEED={{N}} go test ./cluster/sim -run 'TestSimulateTwice$' -v

# known mistakes, one after the other: the simulation must find each within 200 seeds (one takes 5,000), the explorer six of them; by which rule is told
mutants:
    .ci/mutants

# every fuzz target for a time
fuzz TIME="60s":
    .ci/fuzz {{TIME}}

# install what the clients of other languages need, and run all of them against a real process
clients:
    cluster/e2e/clients/install
    go test ./cluster/e2e -run Client -v -timeout 30m

# kraftgo beside Apache Kafka in one run (needs Java and Maven)
bench *ARGS: build
    go run ./cmd/bench compare -kraftgo bin/kraftgo {{ARGS}}

# end brokers of clusters of three while they are written to, ours and Kafka's in turn (needs Java and Maven)
bench-failover *ARGS: build
    go run ./cmd/bench failover -kraftgo bin/kraftgo {{ARGS}}

# what clusters of three cost that hold 1,000 partitions and get nothing to do (needs Java and Maven)
bench-idle *ARGS: build
    go run ./cmd/bench idle -kraftgo bin/kraftgo {{ARGS}}

# start-up times, idle memory, size of the binary
bench-footprint *ARGS: build
    go run ./cmd/bench footprint -kraftgo bin/kraftgo {{ARGS}}

# what runs before a change lands
ci:
    .ci/run
