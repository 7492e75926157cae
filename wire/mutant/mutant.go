// Package mutant switches known mistakes on, to prove that the checks of the explorer (replication) and of the simulation (cluster/sim)
// would find them. Each is a mistake that a replicated log has made before. All are constants that are false in every build but one with the build tag of that mutant
// (mutant_m1 and so on), so that nothing of them is left in a binary. Those from M21 on are our own.
//
// `just mutants` builds each, and tells which rule caught it: the simulation finds all of them within 200 seeds, but for M3, which takes up to 5,000, and M21, which
// took 20,000; the explorer finds M1, M4, M5, M6, M7 and M21 within the bounds of CI. M2 and M3 need more leaders, or more delays, than those bounds have. The simulation of real
// nodes (cluster) finds M1 and M7 within 400 seeds.
//
// Two of them are held back by something else where records must be on a disk (durability=fsync). UnfencedFetch: a follower counts with
// what it has reported as synced, and reports are fenced by themselves. WatermarkBeforeTruncate: whoever diverges below a leader's
// watermark is out of its ISR, and gets a right watermark before it is in it again; what is wrong is what such a follower shows
// meanwhile, which is what the rule looks at.
package mutant

// The mistakes. At most one is on.
const (
	// TruncateToWatermark has a new follower cut its log to its own high watermark, as Kafka did before KIP-101: what was
	// acknowledged meanwhile, unheard by it, is cut too.
	TruncateToWatermark = active == 1
	// PlainEpochLookup asks only where the follower's last epoch ended at the leader, not for the largest epoch at or below it
	// that both have (KIP-101 without KIP-279): logs stay apart after quick elections.
	PlainEpochLookup = active == 2
	// UnfencedFetch takes fetches of any leader epoch (before KIP-320).
	UnfencedFetch = active == 3
	// NoEpochStart lets followers into the ISR that do not have all from before the leader's epoch (KAFKA-7128).
	NoEpochStart = active == 4
	// WatermarkBeforeTruncate takes over the watermark from an answer that says that the logs part (KAFKA-14704).
	WatermarkBeforeTruncate = active == 5
	// NoMaximalISR forgets, for the watermark, the ISR that was asked for and may be in force (KIP-497).
	NoMaximalISR = active == 6
	// AckBeforeSync counts what is appended as if it were synced.
	AckBeforeSync = active == 7
	// CutDamage takes damage that recovery finds for a torn tail: the log is cut, and not suspect (as NATS, and Kafka, do).
	CutDamage = active == 8
	// DeleteOrphans deletes the replicas that the metadata does not know before the metadata is as new as the broker's registration:
	// no committed record has deleted them (as NATS did with streams).
	DeleteOrphans = active == 12
	// AnswersByOffset has a follower take an answer that was asked for at the offset where its log ends, though the record before it is
	// another by now: a copy, or the answer to the second of two fetches, cuts what the leader counts already.
	AnswersByOffset = active == 21
)
