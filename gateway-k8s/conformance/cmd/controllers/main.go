// Command controllers runs the few controllers of Kubernetes that the test cluster needs.
//
// It runs the unchanged packages of k8s.io/kubernetes/pkg/controller, without the rest of
// kube-controller-manager (volumes, autoscaling, cloud, node lifecycle). This makes building and
// linking faster, and excludes the controller that would evict the pods of a node without
// heartbeats.
//
//	Deployment --deployment--> ReplicaSet --replicaset--> Pod (run by cmd/node)
//	Service + Pod --endpointslice--> EndpointSlice
//	Namespace (deleted) --namespace--> contents deleted, finalizer removed
//	owner gone --garbagecollector--> dependents deleted
//	Namespace --serviceaccount, rootcertificate--> "default" account, kube-root-ca.crt
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/klog/v2"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "file with the address and credentials of the API server")
	rootCA := flag.String("root-ca", "", "PEM file published to every namespace as kube-root-ca.crt")
	klog.InitFlags(nil)
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *rootCA); err != nil {
		fmt.Fprintln(os.Stderr, "controllers:", err)
		os.Exit(1)
	}
}

// run creates every controller, starts their shared informers, and waits for the end of ctx.
func run(ctx context.Context, kubeconfig, rootCAFile string) error {
	rootCA, err := os.ReadFile(rootCAFile)
	if err != nil {
		return fmt.Errorf("the root certificate: %w", err)
	}
	shared, err := newShared(kubeconfig)
	if err != nil {
		return err
	}
	loops, err := shared.loops(ctx, rootCA)
	if err != nil {
		return err
	}
	shared.start(ctx)
	for _, loop := range loops {
		go loop(ctx)
	}
	<-ctx.Done()
	// The controllers stop by themselves, and they hold nothing that outlives the process.
	time.Sleep(50 * time.Millisecond)
	return nil
}
