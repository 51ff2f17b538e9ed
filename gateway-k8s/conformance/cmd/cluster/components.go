package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	etcdAddress = "127.0.0.1:2379"
	// restartDelay limits the load of a component that fails repeatedly.
	restartDelay = time.Second
	// endLimit is the time limit for the end of a component after SIGTERM.
	endLimit = 2 * time.Second
)

// component is one program of the cluster. A component that exits is restarted.
type component struct {
	name string
	args []string
	log  string

	mu sync.Mutex
	// wanted is false after stop, until start.
	wanted bool
	// cmd is nil while the program does not run; gone is closed when cmd has ended.
	cmd  *exec.Cmd
	gone chan struct{}
	// starts is the number of starts.
	starts int
}

// components are all programs of the cluster, in the order in which they start.
type components struct {
	dirs dirs
	run  running
	list []*component
}

func newComponents(d dirs, run running) *components {
	all := &components{dirs: d, run: run}
	for _, c := range []struct {
		name, program string
		args          []string
	}{
		// The program of the module go.etcd.io/etcd/server is named after its folder.
		{"etcd", "server", etcdArgs(d)},
		{"kube-apiserver", "kube-apiserver", apiserverArgs(d, run)},
		{"controllers", "controllers", controllersArgs(d)},
		{"node", "node", nodeArgs(d, run)},
	} {
		all.list = append(all.list, &component{
			name: c.name,
			args: append([]string{filepath.Join(d.bin, c.program)}, c.args...),
			log:  d.file("log", c.name+".log"),
		})
	}
	return all
}

func (all *components) find(name string) (*component, error) {
	for _, c := range all.list {
		if c.name == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("no component %q", name)
}

// startAndAwait returns a step that starts a component and, if healthy is not nil, waits until it
// returns nil.
func (all *components) startAndAwait(
	name string, healthy func(context.Context) error,
) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := all.find(name)
		if err != nil {
			return err
		}
		if err := c.start(); err != nil || healthy == nil {
			return err
		}
		return poll(ctx, healthy)
	}
}

// end stops all components in reverse order.
func (all *components) end() {
	for i := len(all.list) - 1; i >= 0; i-- {
		all.list[i].stop(syscall.SIGTERM)
	}
}

// start runs the component, unless it already runs.
func (c *component) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = true
	if c.cmd != nil {
		return nil
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	c.cmd, c.gone = cmd, make(chan struct{})
	c.starts++
	go c.await(cmd, c.gone)
	return nil
}

// await waits for the end of the component, and restarts it unless the end was requested.
func (c *component) await(cmd *exec.Cmd, gone chan struct{}) {
	err := cmd.Wait()
	c.mu.Lock()
	c.cmd = nil
	wanted := c.wanted
	c.mu.Unlock()
	close(gone)
	if !wanted {
		return
	}
	fmt.Fprintf(os.Stderr, "%s ended: %v\n", c.name, err)
	time.Sleep(restartDelay)
	c.mu.Lock()
	wanted = c.wanted
	c.mu.Unlock()
	if wanted {
		if err := c.start(); err != nil {
			fmt.Fprintf(os.Stderr, "%s cannot be started: %v\n", c.name, err)
		}
	}
}

// stop ends the component with signal, and after endLimit with SIGKILL.
func (c *component) stop(signal syscall.Signal) {
	c.mu.Lock()
	c.wanted = false
	cmd, gone := c.cmd, c.gone
	c.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(signal)
	// A frozen process receives the signal when it continues.
	_ = cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-gone:
	case <-time.After(endLimit):
		_ = cmd.Process.Kill()
		<-gone
	}
}

// send sends a signal to the program.
func (c *component) send(signal syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return fmt.Errorf("%s does not run", c.name)
	}
	return c.cmd.Process.Signal(signal)
}

func etcdHealthy(ctx context.Context) error {
	request, err := http.NewRequestWithContext(
		ctx, http.MethodGet, "http://"+etcdAddress+"/health", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd's health: %s", answer.Status)
	}
	return nil
}
