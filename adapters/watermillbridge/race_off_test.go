//go:build !race

package watermillbridge_test

const raceDetector = false
