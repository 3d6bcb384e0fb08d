// Package freeport finds addresses for the servers that tests start in other processes. A server that takes port 0 and says which
// one it got needs none of this.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The ports lie below those that kernels give to connections (32768 and up on Linux, 49152 elsewhere), else somebody's connection
// has it by the time the server starts, or while it is away.
const first, count = 20000, 10000

var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Address returns a loopback address that nobody listens on, and that it hasn't returned before in this process.
func Address() (string, error) {
	mu.Lock()
	defer mu.Unlock()
	for range 100 {
		port := first + rand.IntN(count) //nolint:gosec // not a secret
		if given[port] {
			continue
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		given[port] = true
		return address, listener.Close()
	}
	return "", errors.New("freeport: none of 100 ports was free")
}
