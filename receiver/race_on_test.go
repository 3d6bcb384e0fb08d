//go:build race

package receiver_test

// raceDetector: sync.Pool forgets at random while it is on, so allocations say nothing.
const raceDetector = true
