// Package lifecycle is a broker's way through the life of the cluster: it decides and commits changes of the metadata
// where it is the controller ([Controller]), registers the broker and unfences it, and hands out producer ids from the
// blocks that the controller gives.
//
// # What if
//
//   - two requests want the same change at once: decisions are made one at a time, each on the state that the last left;
//   - it is not known whether a change was committed: the next decision waits until that is settled.
package lifecycle
