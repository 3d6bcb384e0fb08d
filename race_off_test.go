//go:build !race

package walletcrew_test

const raceDetector = false
