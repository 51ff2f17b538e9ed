package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

const (
	// quickTick is the interval between steps of a pod until it is ready, slowTick the interval
	// afterwards.
	quickTick = 50 * time.Millisecond
	slowTick  = time.Second
)

// pod runs one Pod. Except for the fields that mu protects, it belongs to one goroutine.
type pod struct {
	agent   *agent
	dir     string
	network *podNetwork
	volumes map[string]*volume
	tokens  map[string]heldToken
	// object is the Pod that the goroutine processes.
	object *v1.Pod
	// init and main are its containers in order.
	init, main []*container
	// reported is the last status that was written to the API server.
	reported *v1.PodStatus
	// trouble is the reason for which the pod cannot start yet.
	trouble error

	mu sync.Mutex
	// latest is the newest Pod from the API server.
	latest *v1.Pod
	// grace is the time that processes may still use after a request to end; nil without a request.
	grace *time.Duration

	woken chan struct{}
}

func newPod(a *agent, object *v1.Pod) *pod {
	p := &pod{
		agent: a, object: object, latest: object,
		dir:     filepath.Join(a.settings.work, string(object.UID)),
		volumes: map[string]*volume{},
		tokens:  map[string]heldToken{},
		woken:   make(chan struct{}, 1),
	}
	sources := slices.Clone(object.Spec.Volumes)
	if account := accountSource(object); account != nil {
		sources = append(sources, *account)
	}
	for _, source := range sources {
		p.volumes[source.Name] = &volume{
			source: source, dir: filepath.Join(p.dir, "volumes", source.Name)}
	}
	for i := range object.Spec.InitContainers {
		p.init = append(p.init, &container{spec: &object.Spec.InitContainers[i]})
	}
	for i := range object.Spec.Containers {
		p.main = append(p.main, &container{spec: &object.Spec.Containers[i]})
	}
	return p
}

// update passes a newer Pod to the goroutine.
func (p *pod) update(object *v1.Pod) {
	p.mu.Lock()
	p.latest = object
	p.mu.Unlock()
	if object.DeletionTimestamp != nil {
		seconds := int64(0)
		if s := object.DeletionGracePeriodSeconds; s != nil {
			seconds = *s
		}
		p.stop(time.Duration(seconds) * time.Second)
		return
	}
	p.wake()
}

// stop requests the end of the pod. A shorter grace replaces a longer one.
func (p *pod) stop(grace time.Duration) {
	p.mu.Lock()
	if p.grace == nil || grace < *p.grace {
		p.grace = &grace
	}
	p.mu.Unlock()
	p.wake()
}

// wake makes the goroutine run its next step at once.
func (p *pod) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// stopping returns whether the processes must end, and the time that they may still use.
func (p *pod) stopping() (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.object = p.latest
	if p.grace == nil {
		return 0, false
	}
	return *p.grace, true
}

// run keeps the processes in the state that the Pod specifies, until the Pod is deleted or ctx
// ends.
func (p *pod) run(ctx context.Context) {
	defer p.release()
	for {
		if _, stopping := p.stopping(); stopping {
			p.terminate(ctx)
			p.release()
			p.agent.remove(ctx, p.object)
			return
		}
		if ctx.Err() != nil {
			p.signal(syscall.SIGKILL)
			p.await()
			return
		}
		p.step(ctx)
		p.report(ctx)
		pause := quickTick
		if p.settled() {
			pause = slowTick
		}
		select {
		case <-ctx.Done():
		case <-p.woken:
		case <-time.After(pause):
		}
	}
}

// step starts and restarts containers as the Pod specifies.
func (p *pod) step(ctx context.Context) {
	if p.trouble = p.prepare(ctx); p.trouble != nil && !p.started() {
		return
	}
	for _, c := range p.init {
		if alongside(c.spec) {
			c.ensure(p)
			c.look(ctx, p)
			if !c.readiness.ready {
				return
			}
			continue
		}
		policy := p.object.Spec.RestartPolicy
		if policy == v1.RestartPolicyAlways {
			policy = v1.RestartPolicyOnFailure
		}
		finished, succeeded := c.finished(policy)
		if !finished {
			c.ensure(p)
			return
		}
		if !succeeded {
			return
		}
	}
	for _, c := range p.main {
		if finished, _ := c.finished(p.object.Spec.RestartPolicy); !finished {
			c.ensure(p)
		}
		c.look(ctx, p)
	}
}

// alongside returns whether an init container runs beside the others (a "sidecar").
func alongside(c *v1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways
}

// prepare creates the network once, and fills the volumes at each call, because their objects may
// be created late or change.
func (p *pod) prepare(ctx context.Context) error {
	if p.network == nil {
		addr, err := p.agent.addresses.take()
		if err != nil {
			return err
		}
		p.network, err = newPodNetwork(addr, p.agent.settings.address)
		if err != nil {
			p.agent.addresses.giveBack(addr)
			return err
		}
	}
	for _, v := range p.volumes {
		if err := p.fill(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// started returns whether any process has been started.
func (p *pod) started() bool {
	return slices.ContainsFunc(p.all(), func(c *container) bool { return c.process != nil })
}

func (p *pod) all() []*container {
	return append(slices.Clone(p.init), p.main...)
}

// settled returns whether no change is expected soon.
func (p *pod) settled() bool {
	for _, c := range p.main {
		finished, _ := c.finished(p.object.Spec.RestartPolicy)
		if !finished && !c.readiness.ready {
			return false
		}
	}
	return true
}

// terminate ends the processes, with SIGTERM first.
func (p *pod) terminate(ctx context.Context) {
	asked := time.Now()
	if pause := p.longestSleep(); pause > 0 && p.running() {
		p.awaitUntil(ctx, func(grace time.Duration) time.Time {
			return asked.Add(min(pause, grace))
		})
	}
	p.signal(syscall.SIGTERM)
	p.awaitUntil(ctx, func(grace time.Duration) time.Time { return asked.Add(grace) })
	p.signal(syscall.SIGKILL)
	p.await()
}

// longestSleep returns the longest preStop sleep of the containers. Other hooks are not run.
func (p *pod) longestSleep() time.Duration {
	var longest time.Duration
	for _, c := range p.main {
		l := c.spec.Lifecycle
		if l == nil || l.PreStop == nil {
			continue
		}
		if l.PreStop.Sleep == nil {
			klog.InfoS("Only preStop hooks of kind sleep are run",
				"pod", klog.KObj(p.object), "container", c.spec.Name)
			continue
		}
		longest = max(longest, time.Duration(l.PreStop.Sleep.Seconds)*time.Second)
	}
	return longest
}

func (p *pod) running() bool {
	return slices.ContainsFunc(p.all(), (*container).running)
}

// awaitUntil waits for the end of all processes, or for a deadline that depends on the current
// grace.
func (p *pod) awaitUntil(ctx context.Context, deadline func(time.Duration) time.Time) {
	for p.running() && ctx.Err() == nil {
		grace, _ := p.stopping()
		left := time.Until(deadline(grace))
		if left <= 0 {
			return
		}
		select {
		case <-ctx.Done():
		case <-p.woken:
		case <-time.After(left):
		}
	}
}

// await waits for the end of processes that received SIGKILL.
func (p *pod) await() {
	for _, c := range p.all() {
		if c.process != nil {
			<-c.process.done
		}
	}
}

func (p *pod) signal(s syscall.Signal) {
	for _, c := range p.all() {
		c.signal(s)
	}
}

// release releases the resources of the pod. Further calls have no effect.
func (p *pod) release() {
	if p.network != nil {
		p.network.close()
		p.agent.addresses.giveBack(p.network.addr)
		p.network = nil
	}
	if err := os.RemoveAll(p.dir); err != nil {
		klog.ErrorS(fmt.Errorf("removing %s: %w", p.dir, err), "Files stay behind",
			"pod", klog.KObj(p.object))
	}
}
