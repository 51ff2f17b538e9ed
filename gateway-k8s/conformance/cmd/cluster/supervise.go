package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// supervise is process 1 of the run. It prepares the namespaces, starts the components, reports to
// up when they are ready, and exits on SIGTERM.
func supervise() error {
	report := os.NewFile(reportFD, "report")
	doorFile := os.NewFile(doorFD, "door")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := serve(ctx, doorFile, report)
	if err != nil {
		fmt.Fprintln(report, "failed:", err)
	}
	return err
}

func serve(ctx context.Context, doorFile, report *os.File) error {
	d, err := findDirs()
	if err != nil {
		return err
	}
	var run running
	if err := json.Unmarshal([]byte(os.Getenv(runEnv)), &run); err != nil {
		return fmt.Errorf("%s: %w", runEnv, err)
	}
	if err := prepareMounts(d); err != nil {
		return err
	}
	if err := prepareNetwork(run.Port); err != nil {
		return err
	}
	door, err := net.FileListener(doorFile)
	if err != nil {
		return fmt.Errorf("the door: %w", err)
	}
	doorFile.Close()
	go openDoor(door, fmt.Sprintf("127.0.0.1:%d", run.Port))

	all := newComponents(d, run)
	defer all.end()
	if err := all.bringUp(ctx, report); err != nil {
		return err
	}
	if err := serveControl(d, all); err != nil {
		return err
	}
	fmt.Fprintln(report, "ready")
	report.Close()
	<-ctx.Done()
	return nil
}

// bringUp starts the components in order, each one when the previous one is ready, and installs the
// CRDs in between.
func (all *components) bringUp(ctx context.Context, report *os.File) error {
	api, err := newAPI(all.dirs, all.run.Port)
	if err != nil {
		return err
	}
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"etcd", all.startAndAwait("etcd", etcdHealthy)},
		{"kube-apiserver", all.startAndAwait("kube-apiserver", api.ready)},
		{"controllers", all.startAndAwait("controllers", nil)},
		{"node", all.startAndAwait("node", nil)},
		{"CRDs", func(ctx context.Context) error { return api.installCRDs(ctx, all.run.Options) }},
		{"node ready", func(ctx context.Context) error { return poll(ctx, api.nodeReady) }},
		{"default account", func(ctx context.Context) error { return poll(ctx, api.defaultAccount) }},
	}
	for _, step := range steps {
		begun := time.Now()
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Fprintf(report, "%-16s %5.1f s\n", step.name, time.Since(begun).Seconds())
	}
	return nil
}

// poll calls ask until it returns nil. After a timeout, the error contains the last result.
func poll(ctx context.Context, ask func(context.Context) error) error {
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
