package main

import (
	"context"
	"encoding/json"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// report writes the pod's status to the API server, if it differs from the last one.
func (p *pod) report(ctx context.Context) {
	status := p.status()
	if p.reported != nil && equality.Semantic.DeepEqual(p.reported, status) {
		return
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": p.object.UID},
		"status":   status,
	})
	if err != nil {
		klog.ErrorS(err, "A status that cannot be written", "pod", klog.KObj(p.object))
		return
	}
	_, err = p.agent.client.CoreV1().Pods(p.object.Namespace).Patch(
		ctx, p.object.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	switch {
	case err == nil:
		p.reported = status
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		// The Pod was deleted; its event follows.
	default:
		// The next step reports again.
		klog.ErrorS(err, "The status is not taken", "pod", klog.KObj(p.object))
	}
}

// status returns the status of the pod as a kubelet would write it.
func (p *pod) status() *v1.PodStatus {
	s := &v1.PodStatus{Phase: p.phase(), StartTime: startOf(p)}
	if p.network != nil {
		addr := p.network.addr.String()
		node := p.agent.settings.address
		s.PodIP, s.PodIPs = addr, []v1.PodIP{{IP: addr}}
		s.HostIP, s.HostIPs = node, []v1.HostIP{{IP: node}}
	}
	for _, c := range p.init {
		s.InitContainerStatuses = append(s.InitContainerStatuses, p.containerStatus(c))
	}
	for _, c := range p.main {
		s.ContainerStatuses = append(s.ContainerStatuses, p.containerStatus(c))
	}
	s.Conditions = p.conditions()
	return s
}

func startOf(p *pod) *metav1.Time {
	if p.reported != nil && p.reported.StartTime != nil {
		return p.reported.StartTime
	}
	now := metav1.Now().Rfc3339Copy()
	return &now
}

func (p *pod) phase() v1.PodPhase {
	policy := p.object.Spec.RestartPolicy
	succeeded := true
	for _, c := range p.init {
		initPolicy := policy
		if initPolicy == v1.RestartPolicyAlways {
			initPolicy = v1.RestartPolicyOnFailure
		}
		if finished, ok := c.finished(initPolicy); finished && !ok && !alongside(c.spec) {
			return v1.PodFailed
		}
	}
	for _, c := range p.main {
		finished, ok := c.finished(policy)
		if !finished {
			if slices.ContainsFunc(p.main, func(c *container) bool { return c.process != nil }) {
				return v1.PodRunning
			}
			return v1.PodPending
		}
		succeeded = succeeded && ok
	}
	if succeeded {
		return v1.PodSucceeded
	}
	return v1.PodFailed
}

// Unchanged conditions keep their transition time.
func (p *pod) conditions() []v1.PodCondition {
	initialized := true
	for _, c := range p.init {
		done := c.process != nil && !c.process.running() && c.process.code == 0
		initialized = initialized && (done || alongside(c.spec) && c.readiness.ready)
	}
	ready := initialized
	for _, c := range p.main {
		ready = ready && c.running() && c.readiness.ready
	}
	var list []v1.PodCondition
	for _, c := range []struct {
		kind  v1.PodConditionType
		value bool
	}{
		{v1.PodScheduled, true},
		{v1.PodInitialized, initialized},
		{v1.ContainersReady, ready},
		{v1.PodReady, ready},
	} {
		condition := v1.PodCondition{
			Type: c.kind, Status: v1.ConditionFalse,
			LastTransitionTime: metav1.Now().Rfc3339Copy(),
		}
		if c.value {
			condition.Status = v1.ConditionTrue
		}
		if before := p.condition(c.kind); before != nil && before.Status == condition.Status {
			condition.LastTransitionTime = before.LastTransitionTime
		}
		list = append(list, condition)
	}
	return list
}

// condition returns the condition of the last report.
func (p *pod) condition(kind v1.PodConditionType) *v1.PodCondition {
	if p.reported == nil {
		return nil
	}
	for i, c := range p.reported.Conditions {
		if c.Type == kind {
			return &p.reported.Conditions[i]
		}
	}
	return nil
}

func (p *pod) containerStatus(c *container) v1.ContainerStatus {
	running := c.running()
	s := v1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: "program://" + imageName(c.spec.Image),
		RestartCount: c.restarts, Ready: running && c.readiness.ready, Started: &running,
	}
	if c.last != nil {
		s.LastTerminationState.Terminated = c.last
	}
	switch {
	case running:
		s.State.Running = &v1.ContainerStateRunning{
			StartedAt: metav1.NewTime(c.process.began).Rfc3339Copy()}
	case c.process != nil && c.waitReason == "":
		s.State.Terminated = terminated(c.process)
	default:
		s.State.Waiting = &v1.ContainerStateWaiting{
			Reason: "ContainerCreating", Message: c.waitMessage}
		if c.waitReason != "" {
			s.State.Waiting.Reason = c.waitReason
		}
		if c.waitReason == "" && p.trouble != nil {
			s.State.Waiting.Message = p.trouble.Error()
		}
	}
	return s
}

func terminated(p *process) *v1.ContainerStateTerminated {
	reason := "Completed"
	if p.code != 0 {
		reason = "Error"
	}
	return &v1.ContainerStateTerminated{
		ExitCode: int32(p.code), Reason: reason,
		StartedAt:  metav1.NewTime(p.began).Rfc3339Copy(),
		FinishedAt: metav1.NewTime(p.ended).Rfc3339Copy(),
	}
}
