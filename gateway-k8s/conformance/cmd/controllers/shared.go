package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/controller-manager/pkg/informerfactory"
)

// resync is the interval at which informers deliver all their objects again. It is long, because
// the controllers react to changes and a test cluster is too short-lived to drift.
const resync = 12 * time.Hour

// shared are objects that several controllers use: a client, informers, and a mapper.
type shared struct {
	client    kubernetes.Interface
	metadata  metadata.Interface
	informers informers.SharedInformerFactory
	objects   informerfactory.InformerFactory
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	// started is closed when the informers run. The garbage collector waits for it.
	started chan struct{}
}

// newShared connects to the API server in kubeconfig. The client has no rate limit, because the
// server has few users.
func newShared(kubeconfig string) (*shared, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %q: %w", kubeconfig, err)
	}
	config.QPS = -1
	// The API server does not encode metadata of custom resources as protobuf, so only the typed
	// client uses protobuf.
	typed := rest.CopyConfig(config)
	typed.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return nil, err
	}
	metadataClient, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactory(client, resync)
	return &shared{
		client:    client,
		metadata:  metadataClient,
		informers: factory,
		objects: informerfactory.NewInformerFactory(
			factory, metadatainformer.NewSharedInformerFactory(metadataClient, resync)),
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(
			memory.NewMemCacheClient(client.Discovery())),
		started: make(chan struct{}),
	}, nil
}

// start runs the informers that the controllers requested.
func (s *shared) start(ctx context.Context) {
	s.informers.Start(ctx.Done())
	s.objects.Start(ctx.Done())
	close(s.started)
}
