package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kraftgo/kraftgo/cluster/e2e/acked"
)

// damages are what is done to a partition's log while its broker is down. size is how long it was when the broker opened it last:
// recovery looks at what came after.
var damages = []struct {
	name string
	do   func(logs string, p, other int, size int64, random *rand.Rand) error
}{
	{"a bit flipped", func(logs string, p, _ int, size int64, random *rand.Rand) error {
		f, err := os.OpenFile(segmentOf(logs, p), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		end := lengthOf(logs, p)
		at := size + random.Int64N((end-size)/2)
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			return err
		}
		b[0] ^= 1 << random.IntN(8)
		_, err = f.WriteAt(b[:], at)
		return err
	}},
	{"the end cut off", func(logs string, p, _ int, size int64, random *rand.Rand) error {
		return os.Truncate(segmentOf(logs, p), size+random.Int64N((lengthOf(logs, p)-size)/2))
	}},
	{"the directory wiped", func(logs string, p, _ int, _ int64, _ *rand.Rand) error {
		return os.RemoveAll(filepath.Dir(segmentOf(logs, p)))
	}},
	{"two directories swapped", func(logs string, p, other int, _ int64, _ *rand.Rand) error {
		a, b, aside := filepath.Dir(segmentOf(logs, p)), filepath.Dir(segmentOf(logs, other)), filepath.Join(logs, "..", "aside")
		return errors.Join(os.Rename(a, aside), os.Rename(b, a), os.Rename(aside, b))
	}},
}

func segmentOf(logs string, p int) string {
	return filepath.Join(logs, fmt.Sprintf("t-%d", p), "00000000000000000000.log")
}

// lengthOf is the length of a partition's only segment, 0 if there is none.
func lengthOf(logs string, p int) int64 {
	info, err := os.Stat(segmentOf(logs, p))
	if err != nil {
		return 0
	}
	return info.Size()
}

// A log that recovery finds suspect, on a node that starts again while another dies, is never what others follow: it is fetched anew,
// and nothing acknowledged is lost. SUSPECT_CASES says how many times.
func TestSuspectLogsAreFetchedAnew(t *testing.T) {
	cases := number("SUSPECT_CASES", len(damages))
	seed := uint64(number("SUSPECT_SEED", int(time.Now().UnixNano()%1_000_000)))
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 3))
	const partitions = 4
	nodes := threeNodes(t)
	admin := admins(t, nodes)
	if _, err := admin.CreateTopic(t.Context(), partitions, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	allInSync(t, admin, "t")
	w, err := acked.Start(acked.Options{Seeds: clients(nodes), Topic: "t", Partitions: partitions, Rate: 100, Size: 200})
	if err != nil {
		t.Fatal(err)
	}
	opened := make([][partitions]int64, len(nodes)) // how long the logs were when each node opened them
	worst, done := time.Duration(0), map[string]int{}
	for i := range cases {
		x := random.IntN(len(nodes))
		y := (x + 1 + random.IntN(2)) % len(nodes)
		p := random.IntN(partitions)
		damage := damages[i%len(damages)]
		logs := filepath.Join(nodes[x].dir, "logs")
		for q := range partitions { // something to damage
			for lengthOf(logs, q) < opened[x][q]+4096 {
				pauseFor(t, 10*time.Millisecond)
			}
		}
		nodes[x].kill()
		if err := damage.do(logs, p, (p+1)%partitions, opened[x][p], random); err != nil {
			t.Fatal(err)
		}
		// The write-ahead log mends what it still has. Without it a flipped bit must be found; a lost end need not be, if it is of the
		// last tenth of a second.
		mends := strings.Contains(damage.name, "cut") || i/len(damages)%2 == 1
		if !mends {
			removeWAL(t, logs)
		}
		for q := range partitions {
			opened[x][q], opened[y][q] = lengthOf(logs, q), lengthOf(filepath.Join(nodes[y].dir, "logs"), q)
		}
		start := time.Now()
		var both sync.WaitGroup
		both.Go(nodes[x].restart)
		both.Go(nodes[y].kill)
		both.Wait()
		took := refetched(t, admin, nodes[x].broker, p, start)
		said := strings.ReplaceAll(nodes[x].stderr.String(), `suspect=""`, "")
		if !strings.Contains(said, "suspect=\"") && !(mends && strings.Contains(said, "restored from the write-ahead log")) {
			t.Errorf("%s, partition %d of broker %d: recovery found nothing: %s", damage.name, p, nodes[x].broker, nodes[x].stderr)
		}
		worst = max(worst, took)
		done[damage.name]++
		nodes[y].restart()
		allInSync(t, admin, "t")
	}
	noneSilent(t, w)
	t.Logf("%d cases %v; the slowest was in sync again after %s", cases, done, worst)
	sound(t, w)
	allInSync(t, admin, "t")
	for p := range partitions {
		var first []byte
		for i, n := range nodes {
			content, err := readLog(filepath.Dir(segmentOf(filepath.Join(n.dir, "logs"), p)))
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = content
			} else if !slices.Equal(first, content) {
				t.Errorf("partition %d: node %d has %d bytes, node 1 has %d, and they differ", p, i+1, len(content), len(first))
			}
		}
	}
}

// removeWAL takes the write-ahead log away.
func removeWAL(t *testing.T, logs string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(logs, "kraftgo.wal.*"))
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refetched waits until a broker's replica is in sync, and fails if it takes more than a minute.
func refetched(t *testing.T, admin *kadm.Client, broker int32, partition int, start time.Time) time.Duration {
	t.Helper()
	for ; time.Since(start) < time.Minute; pauseFor(t, 20*time.Millisecond) {
		topics, err := admin.ListTopics(t.Context(), "t")
		if err != nil {
			continue
		}
		if d := topics["t"].Partitions[int32(partition)]; slices.Contains(d.ISR, broker) && d.Leader >= 0 {
			return time.Since(start)
		}
	}
	t.Fatalf("partition %d of broker %d is not in sync after a minute", partition, broker)
	return 0
}
