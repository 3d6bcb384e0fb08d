//go:build race

package walletcrewtest_test

// raceDetector: while it is on, all takes many times as long.
const raceDetector = true
