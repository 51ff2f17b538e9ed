// Command node is the node of the test cluster: it runs pods as processes, without images.
//
// It replaces the parts of the scheduler and of the kubelet that tests need:
//
//	Pod without a node --bind--> this node
//	Pod --> network namespace with its own address
//	    --> volumes and environment from Secrets, ConfigMaps and the Pod itself
//	    --> processes, each with its own mounts and process namespace
//	    --> Pod status: address, container states, Ready
//	GET /containerLogs/... --> the output of the processes
//	Service of type LoadBalancer --> an address of the node that is forwarded to the endpoints
//
// A container's image names a local program (see [images]). In a container, the program can access
// the machine's libraries (read-only) and its volumes, but no other files of the machine.
//
// The agent should end together with its process namespace. If it is killed, it removes nothing.
// After a restart, none of its pods runs, and it starts all of them again.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// settings are the command-line options.
type settings struct {
	kubeconfig string
	// images is the file that maps image names to programs; bin is the folder of the built-in
	// programs.
	images, bin string
	// work is the folder of volumes and root folders, logs that of the containers' output.
	work, logs string
	// address of the node, network of the pods, network for Services of type LoadBalancer.
	address, podNetwork, servicePool string
	// api is the address and port of the API server for pods.
	api string
	// ca, cert and key are PEM files: the CA of the run and the certificate of this node.
	ca, cert, key string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == containerArg {
		err := becomeContainer()
		fmt.Fprintln(os.Stderr, "container:", err)
		os.Exit(128)
	}
	s := parseSettings()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func parseSettings() settings {
	var s settings
	flag.StringVar(&s.kubeconfig, "kubeconfig", "", "address and credentials of the API server")
	flag.StringVar(&s.images, "images", "", "file with lines NAME=PROGRAM")
	flag.StringVar(&s.bin, "bin", "", "folder of the built-in programs")
	flag.StringVar(&s.work, "work", "", "folder for volumes")
	flag.StringVar(&s.logs, "logs", "", "folder for the logs of containers")
	flag.StringVar(&s.address, "address", "", "IPv4 address of the node")
	flag.StringVar(&s.podNetwork, "pod-network", "", "IPv4 network for pods, which holds address")
	flag.StringVar(&s.servicePool, "service-pool", "",
		"IPv4 network of the node's own for Services of type LoadBalancer")
	flag.StringVar(&s.api, "api", "", "address:port of the API server, for pods")
	flag.StringVar(&s.ca, "ca", "", "PEM file of the authority")
	flag.StringVar(&s.cert, "cert", "", "PEM file of the node's certificate")
	flag.StringVar(&s.key, "key", "", "PEM file of its key")
	klog.InitFlags(nil)
	flag.Parse()
	return s
}

func run(ctx context.Context, s settings) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return fmt.Errorf("kubeconfig %q: %w", s.kubeconfig, err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := removeLinks(); err != nil {
		return err
	}
	addresses, err := newAddresses(s.podNetwork, s.address)
	if err != nil {
		return err
	}
	serviceAddresses, err := newAddresses(s.servicePool, s.address)
	if err != nil {
		return err
	}
	server, err := serveLogs(s)
	if err != nil {
		return err
	}
	defer server.Close()
	factory := informers.NewSharedInformerFactory(client, 0)
	agent := newAgent(s, client, factory, addresses)
	balancer := newBalancer(client, factory, serviceAddresses)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if err := register(ctx, client, s.address, server.port); err != nil {
		return err
	}
	go balancer.run(ctx)
	agent.run(ctx)
	return nil
}
