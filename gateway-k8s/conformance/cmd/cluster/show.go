package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// imagesFile contains lines NAME=PROGRAM. The node agent reads it at each start of a container.
const imagesFile = "images"

// status lists the components.
func status([]string) error {
	d, run, err := findRunning()
	if err != nil {
		return err
	}
	var list []componentStatus
	if err := ask(d, "GET", "/status", &list); err != nil {
		return err
	}
	fmt.Printf("supervisor       process %d, logs in %s\n", run.PID, d.file("log"))
	fmt.Printf("CRDs             channel %s, policies %t\n", run.Options.Channel, run.Options.Policies)
	complete := true
	for _, c := range list {
		state := "runs"
		if !c.Running {
			state, complete = "stopped", false
		}
		if c.Starts > 1 {
			state += fmt.Sprintf(", started %d times", c.Starts)
		}
		fmt.Printf("%-16s %s\n", c.Name, state)
	}
	if !complete {
		return exitStatus(4)
	}
	return nil
}

// env prints shell lines for `eval`.
func env([]string) error {
	d, run, err := findRunning()
	if err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%s\n", d.kubeconfig())
	fmt.Printf("export CONFORMANCE_NETWORK=/proc/%d/ns/net\n", run.PID)
	fmt.Printf("export CONFORMANCE_GATEWAY_POOL=%s\n", gatewayPool)
	return nil
}

// image adds a program for an image to the running cluster.
func image(args []string) error {
	images := map[string]string{}
	for _, arg := range args {
		name, program, err := parseImage(arg)
		if err != nil {
			return err
		}
		images[name] = program
	}
	if len(images) == 0 {
		return errors.New("image takes NAME=PROGRAM")
	}
	d, _, err := findRunning()
	if err != nil {
		return err
	}
	return addImages(d, images)
}

// addImages appends to the file. Of several lines for a name, the last one applies.
func addImages(d dirs, images map[string]string) error {
	var lines strings.Builder
	for name, program := range images {
		fmt.Fprintf(&lines, "%s=%s\n", name, program)
	}
	file, err := os.OpenFile(d.file(imagesFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(lines.String())
	return err
}

// execInside replaces this program by the given command, in the network namespace of the run.
// Files, processes and user remain those of the caller.
func execInside(args []string) error {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return errors.New("exec takes a command")
	}
	d, run, err := findRunning()
	if err != nil {
		return err
	}
	environment := append(os.Environ(),
		"KUBECONFIG="+d.kubeconfig(), "CONFORMANCE_GATEWAY_POOL="+gatewayPool)
	if os.Geteuid() != 0 {
		return enterAsUser(run, args, environment)
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", run.PID))
	if err != nil {
		return err
	}
	// A network namespace belongs to a thread, and execve keeps that of the calling thread.
	runtime.LockOSThread()
	if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the cluster's network: %w", err)
	}
	return syscall.Exec(program, args, environment)
}

// enterAsUser uses nsenter, because a program with several threads cannot enter the user namespace
// that owns the network.
func enterAsUser(run running, args, environment []string) error {
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("without root this needs util-linux: %w", err)
	}
	argv := append([]string{"nsenter", "--target=" + strconv.Itoa(run.PID),
		"--user", "--preserve-credentials", "--net", "--"}, args...)
	return syscall.Exec(nsenter, argv, environment)
}
