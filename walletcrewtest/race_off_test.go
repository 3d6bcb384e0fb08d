//go:build !race

package walletcrewtest_test

const raceDetector = false
