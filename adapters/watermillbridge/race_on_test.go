//go:build race

package watermillbridge_test

// raceDetector: it finds a race of watermill-amqp's own (v3.0.2), between a connection that breaks and Publish.
const raceDetector = true
