//go:build !linux

package verifier_test

import "time"

func cpuTime(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}
