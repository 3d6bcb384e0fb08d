//go:build race

package main

// raceDetector: sync.Pool forgets at random while it is on, so allocations say nothing.
const raceDetector = true
