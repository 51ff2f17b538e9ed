package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// balancer assigns an address of this node to each Service of type LoadBalancer, and forwards its
// connections and datagrams to ready endpoints of the Service. As behind most load balancers, the
// client address at the endpoints is that of the node.
type balancer struct {
	client    kubernetes.Interface
	services  corelisters.ServiceLister
	slices    discoverylisters.EndpointSliceLister
	addresses *addresses
	changed   chan struct{}
	// Only the goroutine of run uses given and open.
	given map[types.UID]netip.Addr
	open  map[frontend]io.Closer
}

// frontend is one port of one Service.
type frontend struct {
	service   types.UID
	namespace string
	name      string
	port      string
	protocol  v1.Protocol
	address   netip.AddrPort
}

func newBalancer(
	client kubernetes.Interface, factory informers.SharedInformerFactory, addresses *addresses,
) *balancer {
	services := factory.Core().V1().Services()
	b := &balancer{
		client:    client,
		services:  services.Lister(),
		slices:    factory.Discovery().V1().EndpointSlices().Lister(),
		addresses: addresses,
		changed:   make(chan struct{}, 1),
		given:     map[types.UID]netip.Addr{},
		open:      map[frontend]io.Closer{},
	}
	_, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { b.wake() },
		UpdateFunc: func(any, any) { b.wake() },
		DeleteFunc: func(any) { b.wake() },
	})
	if err != nil {
		// Only a stopped informer returns an error here, and this one has not been started.
		panic(err)
	}
	return b
}

func (b *balancer) wake() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// run watches the Services until ctx ends.
func (b *balancer) run(ctx context.Context) {
	for {
		if err := b.settle(ctx); err != nil {
			klog.ErrorS(err, "A load balancer is not as its Service says")
			time.AfterFunc(time.Second, b.wake)
		}
		select {
		case <-ctx.Done():
			return
		case <-b.changed:
		}
	}
}

// settle opens and closes ports so that the open ports are those of the Services.
func (b *balancer) settle(ctx context.Context) error {
	list, err := b.services.List(labels.Everything())
	if err != nil {
		return err
	}
	wanted := map[frontend]bool{}
	alive := map[types.UID]bool{}
	var failed error
	for _, service := range list {
		if service.Spec.Type != v1.ServiceTypeLoadBalancer || service.Spec.LoadBalancerClass != nil {
			continue
		}
		addr, err := b.address(service)
		if err != nil {
			return err
		}
		alive[service.UID] = true
		for _, f := range frontends(service, addr) {
			wanted[f] = true
		}
		if err := b.report(ctx, service, addr); err != nil {
			failed = err
		}
	}
	for f, closer := range b.open {
		if !wanted[f] {
			closer.Close()
			delete(b.open, f)
		}
	}
	for uid, addr := range b.given {
		if !alive[uid] {
			b.addresses.giveBack(addr)
			delete(b.given, uid)
		}
	}
	for f := range wanted {
		if _, open := b.open[f]; !open {
			closer, err := b.listen(f)
			if err != nil {
				failed = fmt.Errorf("%s/%s: %w", f.namespace, f.name, err)
				continue
			}
			b.open[f] = closer
		}
	}
	return failed
}

func frontends(service *v1.Service, addr netip.Addr) []frontend {
	var list []frontend
	for _, port := range service.Spec.Ports {
		list = append(list, frontend{
			service: service.UID, namespace: service.Namespace, name: service.Name,
			port: port.Name, protocol: port.Protocol,
			address: netip.AddrPortFrom(addr, uint16(port.Port)),
		})
	}
	return list
}

func (b *balancer) address(service *v1.Service) (netip.Addr, error) {
	if addr, ok := b.given[service.UID]; ok {
		return addr, nil
	}
	addr, err := b.addresses.take()
	if err == nil {
		b.given[service.UID] = addr
	}
	return addr, err
}

// report writes the address to the Service's status.
func (b *balancer) report(ctx context.Context, service *v1.Service, addr netip.Addr) error {
	ingress := service.Status.LoadBalancer.Ingress
	if len(ingress) == 1 && ingress[0].IP == addr.String() {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": service.UID},
		"status": v1.ServiceStatus{LoadBalancer: v1.LoadBalancerStatus{
			Ingress: []v1.LoadBalancerIngress{{IP: addr.String()}}}},
	})
	if err != nil {
		return err
	}
	_, err = b.client.CoreV1().Services(service.Namespace).Patch(
		ctx, service.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

func (b *balancer) listen(f frontend) (io.Closer, error) {
	switch f.protocol {
	case v1.ProtocolTCP:
		listener, err := net.Listen("tcp4", f.address.String())
		if err == nil {
			go b.serveTCP(listener, f)
		}
		return listener, err
	case v1.ProtocolUDP:
		socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(f.address))
		if err == nil {
			go b.serveUDP(socket, f)
		}
		return socket, err
	}
	return nil, fmt.Errorf("protocol %s is not supported", f.protocol)
}

// choose returns a ready endpoint of a Service's port.
func (b *balancer) choose(f frontend) (string, error) {
	own := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: f.name})
	list, err := b.slices.EndpointSlices(f.namespace).List(own)
	if err != nil {
		return "", err
	}
	candidates := endpoints(list, f.port)
	if len(candidates) == 0 {
		return "", fmt.Errorf("%s/%s has no ready endpoint", f.namespace, f.name)
	}
	return candidates[rand.IntN(len(candidates))], nil
}

// endpoints returns the ready addresses of a port without duplicates.
func endpoints(list []*discoveryv1.EndpointSlice, name string) []string {
	var found []string
	for _, slice := range list {
		for _, port := range slice.Ports {
			if port.Port == nil || port.Name == nil || *port.Name != name {
				continue
			}
			for _, endpoint := range slice.Endpoints {
				if ready := endpoint.Conditions.Ready; ready != nil && !*ready {
					continue
				}
				for _, addr := range endpoint.Addresses {
					found = append(found, net.JoinHostPort(addr, strconv.Itoa(int(*port.Port))))
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
