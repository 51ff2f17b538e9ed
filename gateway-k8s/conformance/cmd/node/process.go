package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// containerArg is the argument with which the agent starts its own program as a container.
const containerArg = "become-container"

// containerPlan describes a container to its process. The agent passes it as JSON.
type containerPlan struct {
	// Root is an empty folder for the container's files.
	Root string
	// Program is the local program; its path in the container is /Name.
	Program, Name string
	// Command is the program and its arguments, with paths inside the container.
	Command []string
	Env     []string
	// Dir is the working directory; "/" if empty.
	Dir      string
	Hostname string
	Mounts   []mount
	// ReadOnly prevents writes outside of volumes.
	ReadOnly bool
	UID, GID int
}

// mount mounts the folder or file Source at Target.
type mount struct {
	Source, Target string
	ReadOnly       bool
}

// process is a running container.
type process struct {
	cmd *exec.Cmd
	// done is closed after the end of the process; code and ended are set before.
	done  chan struct{}
	code  int
	began time.Time
	ended time.Time
}

// startProcess runs plan in the pod's network. Its output is written to log, which is closed at the
// end. wake is called after the end.
func startProcess(network *podNetwork, plan containerPlan, log *containerLog, wake func()) (*process, error) {
	text, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, containerArg)
	cmd.Stdout, cmd.Stderr = log.stream("stdout"), log.stream("stderr")
	cmd.ExtraFiles = []*os.File{reader}
	// A grandchild may keep the output open, which must not delay the detection of the end.
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Setsid:    true,
		Pdeathsig: syscall.SIGKILL,
	}
	if err := forks.inSpace(network.space, cmd.Start); err != nil {
		writer.Close()
		return nil, fmt.Errorf("starting %s: %w", plan.Name, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{}), began: time.Now()}
	go p.wait(log, wake)
	_, err = writer.Write(text)
	writer.Close()
	if err != nil {
		// The process ended before it read its plan; wait detects that.
		return p, nil
	}
	return p, nil
}

func (p *process) wait(log *containerLog, wake func()) {
	err := p.cmd.Wait()
	p.code = exitCode(err)
	p.ended = time.Now()
	log.close()
	close(p.done)
	wake()
}

// exitCode returns 128 plus the signal for a process that a signal ended, as shells and kubelets
// do.
func exitCode(err error) int {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// running returns whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) signal(s syscall.Signal) {
	if p.running() {
		_ = p.cmd.Process.Signal(s)
	}
}

// pid returns the process ID in the namespace of the agent.
func (p *process) pid() int { return p.cmd.Process.Pid }
