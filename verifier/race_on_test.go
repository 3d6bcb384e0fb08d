//go:build race

package verifier_test

// raceDetector: sync.Pool forgets at random while it is on, so allocations say nothing.
const raceDetector = true
