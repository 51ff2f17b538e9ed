package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"
)

// The supervisor listens on a Unix socket in the state folder, because a path is reachable from
// every network namespace.
const controlSocket = "control.sock"

// componentStatus is the status of one component.
type componentStatus struct {
	Name    string
	Running bool
	Starts  int
}

func serveControl(d dirs, all *components) error {
	listener, err := net.Listen("unix", d.file(controlSocket))
	if err != nil {
		return fmt.Errorf("the control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(all.status())
	})
	mux.HandleFunc("POST /{verb}/{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := all.act(r.PathValue("verb"), r.PathValue("name")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	go func() { _ = http.Serve(listener, mux) }()
	return nil
}

func (all *components) status() []componentStatus {
	var list []componentStatus
	for _, c := range all.list {
		c.mu.Lock()
		list = append(list, componentStatus{Name: c.name, Running: c.cmd != nil, Starts: c.starts})
		c.mu.Unlock()
	}
	return list
}

func (all *components) act(verb, name string) error {
	c, err := all.find(name)
	if err != nil {
		return err
	}
	switch verb {
	case "start":
		return c.start()
	case "stop":
		c.stop(syscall.SIGTERM)
		return nil
	case "kill":
		c.stop(syscall.SIGKILL)
		return nil
	case "pause":
		return c.send(syscall.SIGSTOP)
	case "resume":
		return c.send(syscall.SIGCONT)
	}
	return fmt.Errorf("no action %q", verb)
}

// control returns the command that sends the action verb on a component to the supervisor.
func control(verb string) func([]string) error {
	return func(args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%s takes the name of one component", verb)
		}
		d, _, err := findRunning()
		if err != nil {
			return err
		}
		return ask(d, http.MethodPost, "/"+verb+"/"+url.PathEscape(args[0]), nil)
	}
}

// ask sends a request to the supervisor.
func ask(d dirs, method, path string, into any) error {
	client := http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", d.file(controlSocket))
			},
		},
	}
	request, err := http.NewRequest(method, "http://supervisor"+path, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		return errors.New(string(reason))
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(answer.Body).Decode(into)
}

// findRunning returns the running cluster, or an error if there is none.
func findRunning() (dirs, running, error) {
	d, err := findDirs()
	if err != nil {
		return d, running{}, err
	}
	run, alive, err := d.read()
	if err != nil {
		return d, run, err
	}
	if !alive {
		fmt.Fprintln(os.Stderr, "no cluster runs: `cluster up` starts one")
		return d, run, exitStatus(3)
	}
	return d, run, nil
}
