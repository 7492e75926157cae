//go:build race

package kraftgotest

const raceDetector = true
