package main

import (
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// persistDelay is the pause between two attempts of a call that must eventually succeed.
const persistDelay = 500 * time.Millisecond

// agent runs one [pod] for each Pod of the API server.
type agent struct {
	settings  settings
	client    kubernetes.Interface
	addresses *addresses
	secrets   corelisters.SecretLister
	configs   corelisters.ConfigMapLister

	// events are the Pods that the informer delivers. One goroutine reads them, so pods needs no lock.
	events chan event
	pods   map[types.UID]*pod
	// ended counts the pods that are not completely stopped.
	ended sync.WaitGroup
}

// event is a new, changed or deleted Pod.
type event struct {
	object *v1.Pod
	gone   bool
}

func newAgent(
	s settings, client kubernetes.Interface, factory informers.SharedInformerFactory,
	addresses *addresses,
) *agent {
	core := factory.Core().V1()
	a := &agent{
		settings:  s,
		client:    client,
		addresses: addresses,
		secrets:   core.Secrets().Lister(),
		configs:   core.ConfigMaps().Lister(),
		events:    make(chan event, 1024),
		pods:      map[types.UID]*pod{},
	}
	changed := func(object any) { a.events <- event{object: object.(*v1.Pod)} }
	_, err := core.Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, object any) { changed(object) },
		DeleteFunc: func(object any) {
			if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			a.events <- event{object: object.(*v1.Pod), gone: true}
		},
	})
	if err != nil {
		// Only a stopped informer returns an error here, and this one has not been started.
		panic(err)
	}
	return a
}

// run handles events until ctx ends, then stops the pods.
func (a *agent) run(ctx context.Context) {
	for {
		select {
		case e := <-a.events:
			a.handle(ctx, e)
		case <-ctx.Done():
			a.ended.Wait()
			return
		}
	}
}

func (a *agent) handle(ctx context.Context, e event) {
	object := e.object
	p, known := a.pods[object.UID]
	switch {
	case e.gone:
		if known {
			p.stop(0)
			delete(a.pods, object.UID)
		}
	case object.Spec.NodeName == "":
		go a.bind(ctx, object)
	case object.Spec.NodeName != nodeName:
	case known:
		p.update(object)
	case object.DeletionTimestamp != nil:
		// The Pod was deleted before it ran here, so only the last step of the deletion remains.
		go a.remove(ctx, object)
	case object.Status.Phase == v1.PodSucceeded || object.Status.Phase == v1.PodFailed:
	default:
		p := newPod(a, object)
		a.pods[object.UID] = p
		a.ended.Go(func() { p.run(ctx) })
	}
}

// bind assigns a Pod to this node, as a scheduler would.
func (a *agent) bind(ctx context.Context, object *v1.Pod) {
	if object.DeletionTimestamp != nil {
		a.remove(ctx, object)
		return
	}
	binding := &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: object.Namespace, Name: object.Name, UID: object.UID},
		Target: v1.ObjectReference{Kind: "Node", Name: nodeName},
	}
	persist(ctx, "bind", object, func() error {
		return a.client.CoreV1().Pods(object.Namespace).Bind(ctx, binding, metav1.CreateOptions{})
	})
}

// remove deletes a Pod whose processes have ended from the API server.
func (a *agent) remove(ctx context.Context, object *v1.Pod) {
	now := int64(0)
	options := metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      &metav1.Preconditions{UID: &object.UID},
	}
	persist(ctx, "remove", object, func() error {
		return a.client.CoreV1().Pods(object.Namespace).Delete(ctx, object.Name, options)
	})
}

// persist repeats a call until it succeeds, because the API server may be unavailable for some
// time. It stops if the Pod has changed or was deleted, because another event then follows.
func persist(ctx context.Context, what string, object *v1.Pod, call func() error) {
	for ctx.Err() == nil {
		err := call()
		if err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return
		}
		klog.ErrorS(err, "The API server does not let this pass", "call", what, "pod", klog.KObj(object))
		select {
		case <-ctx.Done():
		case <-time.After(persistDelay):
		}
	}
}
