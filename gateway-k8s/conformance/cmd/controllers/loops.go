package main

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
)

const (
	// workers is the number of workers per controller. Two are sufficient for some hundred objects.
	workers = 2
	// endpointsPerSlice is kube-controller-manager's default.
	endpointsPerSlice = 100
	// discoveryPeriod is the interval at which the garbage collector discovers new kinds.
	discoveryPeriod = 10 * time.Second
)

// loop runs one controller until its context ends.
type loop func(context.Context)

// loops creates all controllers. It must be called before start, because creating them requests
// informers.
func (s *shared) loops(ctx context.Context, rootCA []byte) ([]loop, error) {
	builders := []func(context.Context) (loop, error){
		s.deployment,
		s.replicaSet,
		s.endpointSlice,
		s.namespace,
		s.garbageCollector,
		s.serviceAccount,
		func(ctx context.Context) (loop, error) { return s.rootCertificate(ctx, rootCA) },
	}
	var loops []loop
	for _, build := range builders {
		loop, err := build(ctx)
		if err != nil {
			return nil, err
		}
		loops = append(loops, loop)
	}
	return loops, nil
}

func (s *shared) deployment(ctx context.Context) (loop, error) {
	apps := s.informers.Apps().V1()
	c, err := deployment.NewDeploymentController(
		ctx, apps.Deployments(), apps.ReplicaSets(), s.informers.Core().V1().Pods(), s.client)
	if err != nil {
		return nil, fmt.Errorf("the deployment controller: %w", err)
	}
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func (s *shared) replicaSet(ctx context.Context) (loop, error) {
	c := replicaset.NewReplicaSetController(
		ctx, s.informers.Apps().V1().ReplicaSets(), s.informers.Core().V1().Pods(), s.client,
		replicaset.BurstReplicas)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

// endpointSlice writes each change at once. Without batching, tests see pods as soon as they are
// ready.
func (s *shared) endpointSlice(ctx context.Context) (loop, error) {
	core := s.informers.Core().V1()
	c := endpointslice.NewController(
		ctx, core.Pods(), core.Services(), core.Nodes(),
		s.informers.Discovery().V1().EndpointSlices(), endpointsPerSlice, s.client, 0)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func (s *shared) namespace(ctx context.Context) (loop, error) {
	c := namespace.NewNamespaceController(
		ctx, s.client, s.metadata, s.client.Discovery().ServerPreferredNamespacedResources,
		s.informers.Core().V1().Namespaces(), resync, v1.FinalizerKubernetes)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func (s *shared) garbageCollector(ctx context.Context) (loop, error) {
	c, err := garbagecollector.NewGarbageCollector(
		ctx, s.client, s.metadata, s.mapper, garbagecollector.DefaultIgnoredResources(),
		s.objects, s.started)
	if err != nil {
		return nil, fmt.Errorf("the garbage collector: %w", err)
	}
	return func(ctx context.Context) {
		go c.Sync(ctx, s.client.Discovery(), discoveryPeriod)
		c.Run(ctx, workers, discoveryPeriod)
	}, nil
}

func (s *shared) serviceAccount(ctx context.Context) (loop, error) {
	core := s.informers.Core().V1()
	c, err := serviceaccount.NewServiceAccountsController(
		klog.FromContext(ctx), core.ServiceAccounts(), core.Namespaces(), s.client,
		serviceaccount.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return nil, fmt.Errorf("the service account controller: %w", err)
	}
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func (s *shared) rootCertificate(_ context.Context, rootCA []byte) (loop, error) {
	core := s.informers.Core().V1()
	c, err := rootcacertpublisher.NewPublisher(
		core.ConfigMaps(), core.Namespaces(), s.client, rootCA)
	if err != nil {
		return nil, fmt.Errorf("the root certificate publisher: %w", err)
	}
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}
