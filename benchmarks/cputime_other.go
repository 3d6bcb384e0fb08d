//go:build !unix

package main

import "time"

var started = time.Now()

// cpuTime is the time since the start, where the system isn't asked for what was used.
func cpuTime() time.Duration { return time.Since(started) }

func cpuTimeOf(int) time.Duration { return 0 }
