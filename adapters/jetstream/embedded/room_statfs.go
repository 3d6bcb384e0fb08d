//go:build linux || darwin

package embedded

import "syscall"

// hasRoom reports whether so many bytes are free on the directory's disk, for this user.
func hasRoom(dir string, bytes uint64) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) == nil && fs.Bavail >= (bytes+uint64(fs.Bsize)-1)/uint64(fs.Bsize) //nolint:gosec,unconvert // its type differs
}

// diskSize returns how many bytes the directory's disk holds, free or not; 0 if that can't be said.
func diskSize(dir string) int64 {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return 0
	}
	return int64(fs.Blocks) * int64(fs.Bsize) //nolint:gosec,unconvert // likewise
}
