//go:build !unix

package embedded

import (
	"fmt"
	"os"
)

// lockFile doesn't lock here: that one process uses the directory is up to the user.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	return f, nil
}

func unlock(f *os.File) { _ = f.Close() }
