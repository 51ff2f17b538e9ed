package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// prepareMounts makes the mounts of the run private, mounts the /proc of its process namespace, and
// mounts memory for files that are secret or written often.
func prepareMounts(d dirs) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if err := unix.Mount("proc", "/proc", "proc", flags|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for _, dir := range []string{"etcd", "pods"} {
		if err := unix.Mount("tmpfs", d.file(dir), "tmpfs", flags, "mode=0755"); err != nil {
			return fmt.Errorf("memory for %s: %w", d.file(dir), err)
		}
	}
	return nil
}
