package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Addresses of the run. They exist only in its network namespace, so they may be in use elsewhere.
// Pods cannot have loopback addresses, because the API server rejects these in EndpointSlices.
const (
	nodeIP     = "10.240.0.1"
	podNetwork = "10.240.0.0/16"
	// ownNetwork belongs to the node: any of its addresses can be bound. The first pool is for
	// Gateways, the second for Services of type LoadBalancer.
	ownNetwork  = "10.242.0.0/16"
	gatewayPool = "10.242.0.0/24"
	servicePool = "10.242.1.0/24"
	serviceIPs  = "10.96.0.0/16"
	// serviceIP is the first address of serviceIPs, which the API server uses for itself.
	serviceIP = "10.96.0.1"
)

// dirs are the folders of the files and programs of a run.
type dirs struct {
	// state is created by up and removed by down.
	state string
	// bin contains the programs.
	bin string
	// gatewayAPI and envoyGateway are the root folders of the modules with the CRDs.
	gatewayAPI, envoyGateway string
}

// findDirs reads the folders from the environment variables that the script sets.
func findDirs() (dirs, error) {
	d := dirs{
		state:        os.Getenv("CONFORMANCE_STATE"),
		bin:          os.Getenv("CONFORMANCE_BIN"),
		gatewayAPI:   os.Getenv("CONFORMANCE_GATEWAY_API"),
		envoyGateway: os.Getenv("CONFORMANCE_ENVOY_GATEWAY"),
	}
	if d.state == "" || d.bin == "" {
		return d, errors.New("CONFORMANCE_STATE and CONFORMANCE_BIN are not set: use the script " +
			"conformance/cluster, which sets them")
	}
	return d, nil
}

func (d dirs) file(name ...string) string {
	return filepath.Join(append([]string{d.state}, name...)...)
}

func (d dirs) kubeconfig() string { return d.file("kubeconfig") }

// running describes a started cluster. up writes it, the other commands read it.
type running struct {
	// PID is the process ID of the supervisor in the caller's process namespace.
	PID int
	// StartTime distinguishes the supervisor from a later process with the same PID. The unit is clock
	// ticks since the start of the machine (field 22 of /proc/PID/stat).
	StartTime string
	Port      int
	Options   options
}

// read returns the cluster that the state folder describes, and whether it still runs.
func (d dirs) read() (running, bool, error) {
	var r running
	data, err := os.ReadFile(d.file("running.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, false, fmt.Errorf("running.json: %w", err)
	}
	start, err := startTime(r.PID)
	return r, err == nil && start == r.StartTime, nil
}

func (d dirs) write(r running) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(d.file("running.json"), data, 0o600)
}

// startTime returns field 22 of /proc/PID/stat. It returns an error for a process that has ended.
func startTime(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return "", err
	}
	return parseStartTime(string(data), len(threads))
}

// parseStartTime parses a line of /proc/PID/stat. The second field is the program's name in
// parentheses, which may contain spaces and parentheses.
//
// The line describes the first thread. If that thread is a zombie, the process has ended only if it
// has no other threads: the first process of a namespace exists until the kernel has ended all
// others in it.
func parseStartTime(stat string, threads int) (string, error) {
	_, rest, found := cutLast(stat, ")")
	fields := strings.Fields(rest)
	const state, start = 0, 19
	if !found || len(fields) <= start {
		return "", fmt.Errorf("not a line of /proc/PID/stat: %q", stat)
	}
	if threads <= 1 && (fields[state] == "Z" || fields[state] == "X") {
		return "", errors.New("the process has ended")
	}
	return fields[start], nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// lock prevents a second up or down on this state folder at the same time.
func (d dirs) lock() (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(d.state), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(d.state+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("the lock %s: %w", file.Name(), err)
	}
	return func() { file.Close() }, nil
}
