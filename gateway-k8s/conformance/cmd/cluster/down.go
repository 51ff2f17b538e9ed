package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// politeLimit is the time limit for the supervisor to end its children in order.
	politeLimit = 8 * time.Second
	// killLimit is the time limit for the kernel to end the process namespace.
	killLimit = 30 * time.Second
)

// down ends the run and removes its files. The namespaces have no names, so they end with their
// last process, and with them their interfaces, routes and mounts.
func down(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("down takes no argument %q", args[0])
	}
	d, err := findDirs()
	if err != nil {
		return err
	}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := stopProcesses(d); err != nil {
		return err
	}
	return os.RemoveAll(d.state)
}

// stopProcesses ends the supervisor, with SIGTERM first. The supervisor is process 1 of its
// namespace, so the kernel ends all other processes of the run with it.
func stopProcesses(d dirs) error {
	run, alive, err := d.read()
	if err != nil || !alive {
		// If the file cannot be read, its process is unknown; down then removes the file.
		return nil
	}
	steps := []struct {
		signal unix.Signal
		limit  time.Duration
	}{{unix.SIGTERM, politeLimit}, {unix.SIGKILL, killLimit}}
	for _, step := range steps {
		if err := unix.Kill(run.PID, step.signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("the supervisor, process %d: %w", run.PID, err)
		}
		if waitGone(run, step.limit) {
			return nil
		}
	}
	return fmt.Errorf("the supervisor, process %d, does not end", run.PID)
}

func waitGone(run running, limit time.Duration) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if start, err := startTime(run.PID); err != nil || start != run.StartTime {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}
