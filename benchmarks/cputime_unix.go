//go:build unix

package main

import (
	"syscall"
	"time"
)

// cpuTime is what this process has used of all cores, those of the garbage collector included: what else the machine does isn't in it.
func cpuTime() time.Duration {
	var used syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
