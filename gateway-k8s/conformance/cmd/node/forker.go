package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// forks is the only thread that enters network namespaces and starts processes.
//
// A network namespace belongs to a thread, and so does the setting that a child ends with its
// parent (Pdeathsig). Both therefore need a thread that does not end and is used for nothing else.
var forks forker

type forker struct {
	once sync.Once
	jobs chan func()
}

// do runs job on the thread, then returns the thread to the network namespace of the node.
func (f *forker) do(job func() error) error {
	f.once.Do(func() {
		f.jobs = make(chan func())
		go f.loop()
	})
	result := make(chan error)
	f.jobs <- func() { result <- job() }
	return <-result
}

func (f *forker) loop() {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		panic(fmt.Sprintf("the node's network namespace: %v", err))
	}
	for job := range f.jobs {
		job()
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(fmt.Sprintf("going back to the node's network namespace: %v", err))
		}
	}
}

// inSpace runs job while the thread is in a network namespace.
func (f *forker) inSpace(space *os.File, job func() error) error {
	return f.do(func() error {
		if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering the pod's network: %w", err)
		}
		return job()
	})
}
