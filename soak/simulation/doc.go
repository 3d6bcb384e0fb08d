// Package simulation runs the receivers, dedupers and workers of this project in a made-up world, and lets go wrong there what can: see the
// README of soak. It holds tests only.
package simulation
