//go:build linux || darwin

package embedded

import "syscall"

// hasRoom reports whether so many bytes are free on the directory's disk, for this user.
func hasRoom(dir string, bytes uint64) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) == nil && fs.Bavail >= (bytes+uint64(fs.Bsize)-1)/uint64(fs.Bsize) //nolint:gosec,unconvert // its type differs
}
