//go:build race

package main

// The command is built with the race detector, too: a race in it is written to stderr, and its exit code is 66.
const raceEnabled = true
