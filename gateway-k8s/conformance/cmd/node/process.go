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

// containerArg is how the agent calls its own program to become a container.
const containerArg = "become-container"

// containerPlan is what a container needs to become one; the agent passes it as JSON.
type containerPlan struct {
	// Root is an empty folder to build the container's files in.
	Root string
	// Program is the local program; it appears as /Name.
	Program, Name string
	// Command is the program and its arguments, as inside the container.
	Command []string
	Env     []string
	// Dir is the working directory, "/" when empty.
	Dir      string
	Hostname string
	Mounts   []mount
	// ReadOnly forbids writes outside of volumes.
	ReadOnly bool
	UID, GID int
}

// mount shows the folder or file Source at Target.
type mount struct {
	Source, Target string
	ReadOnly       bool
}

// process is a running container.
type process struct {
	cmd *exec.Cmd
	// done is closed after the end; code and ended are set before.
	done  chan struct{}
	code  int
	began time.Time
	ended time.Time
}

// startProcess runs plan in the pod's network. Output goes to log, which is closed in the end; wake
// is called after the end.
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
	// A grandchild that keeps the output open must not keep us from seeing the end.
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
		// It ended before it had read its plan; wait sees that.
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

// exitCode is 128 plus the signal for a process that a signal ended, as shells and kubelets count.
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

// running says whether the process has not ended.
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

// pid is the process number as the agent sees it.
func (p *process) pid() int { return p.cmd.Process.Pid }
