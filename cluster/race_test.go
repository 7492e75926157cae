//go:build race

package cluster

// raceDetector says that the tests run under it.
const raceDetector = true
