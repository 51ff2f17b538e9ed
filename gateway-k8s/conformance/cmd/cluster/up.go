package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// superviseArg is the argument with which up starts its own program inside the namespaces.
	superviseArg = "supervise"
	// runEnv is the environment variable with the port and options for supervise.
	runEnv = "CONFORMANCE_RUN"
	// File descriptors that supervise inherits, after standard input, output and error.
	doorFD, reportFD = 3, 4
	// startLimit is the time limit of a start. A start usually takes seconds, on a busy machine
	// minutes.
	startLimit = 10 * time.Minute
)

// up starts the cluster, and waits until it is ready.
func up(args []string) error {
	opts, err := parseOptions(args)
	if err != nil {
		return err
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
	run, alive, err := d.read()
	switch {
	case err != nil:
		return fmt.Errorf("%w; `cluster down` clears it", err)
	case alive && !run.Options.same(opts):
		return fmt.Errorf("a cluster with other options runs (%+v): `cluster down` first", run.Options)
	case alive:
		fmt.Println("the cluster runs already")
		return addImages(d, opts.Images)
	}
	begun := time.Now()
	if err := start(d, opts); err != nil {
		// After a failed start, only the logs remain.
		return errors.Join(err, stopProcesses(d))
	}
	fmt.Printf("the cluster is up after %.1f s\n", time.Since(begun).Seconds())
	fmt.Printf("export KUBECONFIG=%s\n", d.kubeconfig())
	return nil
}

// start creates the files, starts the supervisor with its namespaces, and waits for its report.
func start(d dirs, opts options) error {
	if err := os.RemoveAll(d.state); err != nil {
		return err
	}
	for _, dir := range []string{"log/pods", "pki", "etcd", "pods"} {
		if err := os.MkdirAll(d.file(dir), 0o755); err != nil {
			return err
		}
	}
	door, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("a loopback port for kubectl: %w", err)
	}
	defer door.Close()
	port := door.Addr().(*net.TCPAddr).Port
	if err := writeCredentials(d, port); err != nil {
		return err
	}
	if err := addImages(d, opts.Images); err != nil {
		return err
	}
	report, err := launch(d, opts, door.(*net.TCPListener), port)
	if err != nil {
		return err
	}
	defer report.Close()
	return waitReady(d, report)
}

// launch starts the supervisor in new namespaces and writes the file that describes it.
func launch(d dirs, opts options, door *net.TCPListener, port int) (*os.File, error) {
	doorFile, err := door.File()
	if err != nil {
		return nil, err
	}
	defer doorFile.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer writer.Close()
	log, err := os.Create(d.file("log", "supervisor.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	run := running{Port: port, Options: opts}
	inherited, err := json.Marshal(run)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, superviseArg)
	cmd.Env = append(os.Environ(), runEnv+"="+string(inherited))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{doorFile, writer}
	cmd.SysProcAttr = namespaces()
	if err := cmd.Start(); err != nil {
		reader.Close()
		return nil, explainClone(err)
	}
	run.PID = cmd.Process.Pid
	run.StartTime, err = startTime(run.PID)
	if err == nil {
		err = d.write(run)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		reader.Close()
		return nil, err
	}
	return reader, nil
}

// namespaces returns the attributes of a process in namespaces of its own. Without root, this
// includes a user namespace, in which the caller has the rights of root.
func namespaces() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Setsid: true,
	}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

func explainClone(err error) error {
	if os.Geteuid() == 0 {
		return fmt.Errorf("cannot make namespaces although this is root (a container without "+
			"CAP_SYS_ADMIN?): %w", err)
	}
	return fmt.Errorf("cannot make namespaces: run this as root, or allow unprivileged user "+
		"namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"+
		": %w", err)
}

// waitReady prints the supervisor's progress until the report is "ready" or ends.
func waitReady(d dirs, report *os.File) error {
	if err := report.SetReadDeadline(time.Now().Add(startLimit)); err != nil {
		return err
	}
	lines := bufio.NewScanner(report)
	for lines.Scan() {
		line := lines.Text()
		if line == "ready" {
			return nil
		}
		if reason, failed := strings.CutPrefix(line, "failed: "); failed {
			return fmt.Errorf("%s (logs: %s)", reason, d.file("log"))
		}
		fmt.Println(line)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("no report from the supervisor: %w (logs: %s)", err, d.file("log"))
	}
	return fmt.Errorf("the supervisor ended (logs: %s)", d.file("log"))
}
