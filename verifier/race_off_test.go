//go:build !race

package verifier_test

const raceDetector = false
