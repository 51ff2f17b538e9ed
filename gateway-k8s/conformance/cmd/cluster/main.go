// Command cluster starts and stops a Kubernetes cluster without containers, for tests.
//
// Everything runs in new namespaces: a network namespace, so that nothing is reachable from outside
// and no address conflicts; a process namespace, so that one kill ends all processes, even after a
// crash; and a mount namespace, so that all mounts end with it.
//
//	up --clone--> supervise (process 1 of the run)
//	                |-- etcd              127.0.0.1:2379
//	                |-- kube-apiserver    :PORT  <--door-- 127.0.0.1:PORT of the caller
//	                |-- controllers       deployment, replicaset, endpointslice, namespace, ...
//	                |-- node              binds pods and runs them, each in a network namespace
//
// The "door" is a loopback socket that up opens before it creates the namespaces. supervise
// inherits the socket and forwards its connections, so that kubectl works outside with the same
// kubeconfig as inside.
//
// Callers use the script of the same name, which builds the programs first.
package main

import (
	"errors"
	"fmt"
	"os"
)

// command is a command of the program.
type command struct {
	name, args, help string
	run              func(args []string) error
}

func commands() []command {
	return []command{
		{"up", "[flags]", "start the cluster; harmless when it runs", up},
		{"down", "", "stop it and remove everything it made, also after a crash", down},
		{"status", "", "what runs; status 3 when nothing does", status},
		{"env", "", "shell lines that point kubectl to it", env},
		{"exec", "COMMAND...", "run a command in the cluster's network", execInside},
		{"image", "NAME=PROGRAM", "the program that runs for containers of image NAME", image},
		{"stop", "COMPONENT", "stop etcd, kube-apiserver, controllers or node", control("stop")},
		{"start", "COMPONENT", "start it again", control("start")},
		{"kill", "COMPONENT", "end it at once; it is not started again", control("kill")},
		{"pause", "COMPONENT", "freeze it", control("pause")},
		{"resume", "COMPONENT", "let it go on", control("resume")},
	}
}

func main() {
	if len(os.Args) < 2 {
		usage()
		os.Exit(2)
	}
	name, args := os.Args[1], os.Args[2:]
	if name == superviseArg {
		exit(supervise())
	}
	for _, c := range commands() {
		if c.name == name {
			exit(c.run(args))
		}
	}
	usage()
	os.Exit(2)
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: cluster COMMAND")
	for _, c := range commands() {
		fmt.Fprintf(os.Stderr, "  %-24s %s\n", c.name+" "+c.args, c.help)
	}
}

// exitStatus is an error that ends the program with a specific status and prints nothing more.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("status %d", int(s)) }

func exit(err error) {
	if err == nil {
		os.Exit(0)
	}
	var code exitStatus
	if errors.As(err, &code) {
		os.Exit(int(code))
	}
	fmt.Fprintln(os.Stderr, "cluster:", err)
	os.Exit(1)
}
