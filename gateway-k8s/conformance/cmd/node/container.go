package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
)

const (
	// firstPause is the pause before the first restart of a container. Each further pause is twice as
	// long, up to longestPause.
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
	// steady is the run time of a container after which its next pause is firstPause again.
	steady = 10 * time.Second
	// someUser is the user of containers that must not run as root and set no user.
	someUser = 65532
)

// container is one container of a pod, with all its starts.
type container struct {
	spec *v1.Container
	// process is the last start; nil before the first.
	process *process
	// Reason and message in the status for a container that does not run.
	waitReason, waitMessage string
	restarts                int32
	pause                   time.Duration
	readiness               readiness
	// last is the result of the start before the last one.
	last *v1.ContainerStateTerminated
}

func (c *container) running() bool { return c.process != nil && c.process.running() }

// finished returns whether the container has ended and is not restarted, and whether it succeeded.
func (c *container) finished(policy v1.RestartPolicy) (finished, succeeded bool) {
	if c.process == nil || c.process.running() {
		return false, false
	}
	succeeded = c.process.code == 0
	switch policy {
	case v1.RestartPolicyNever:
		return true, succeeded
	case v1.RestartPolicyOnFailure:
		return succeeded, succeeded
	}
	return false, succeeded
}

// ensure starts the container if it does not run and its pause is over.
func (c *container) ensure(p *pod) {
	if c.running() {
		return
	}
	if ended := c.process; ended != nil {
		c.readiness = readiness{}
		if c.pause == 0 || ended.ended.Sub(ended.began) > steady {
			c.pause = firstPause
		}
		if time.Since(ended.ended) < c.pause {
			c.wait("CrashLoopBackOff", fmt.Sprintf("ended with status %d", ended.code))
			return
		}
		c.pause = min(2*c.pause, longestPause)
	}
	next, err := p.start(c.spec)
	if err != nil {
		c.wait("CreateContainerError", err.Error())
		return
	}
	if c.process != nil {
		c.restarts++
		c.last = terminated(c.process)
	}
	c.process = next
	c.wait("", "")
}

func (c *container) wait(reason, message string) {
	c.waitReason, c.waitMessage = reason, message
}

func (c *container) signal(s syscall.Signal) {
	if c.process != nil {
		c.process.signal(s)
	}
}

// start runs a container's program in the pod's network.
func (p *pod) start(c *v1.Container) (*process, error) {
	plan, err := p.plan(c)
	if err != nil {
		return nil, err
	}
	log, err := openLog(logPath(p.agent.settings.logs, p.object.Namespace, p.object.Name, c.Name))
	if err != nil {
		return nil, err
	}
	process, err := startProcess(p.network, plan, log, p.wake)
	if err != nil {
		log.close()
	}
	return process, err
}

// plan returns the program, files and user of a container.
func (p *pod) plan(c *v1.Container) (containerPlan, error) {
	program, name, err := images{p.agent.settings.images, p.agent.settings.bin}.find(c.Image)
	if err != nil {
		return containerPlan{}, err
	}
	env, err := p.environment(c)
	if err != nil {
		return containerPlan{}, err
	}
	command := []string{"/" + name}
	if len(c.Command) > 0 {
		command = nil
	}
	for _, word := range append(append([]string(nil), c.Command...), c.Args...) {
		command = append(command, env.expand(word))
	}
	mounts, err := p.mounts(c, env)
	if err != nil {
		return containerPlan{}, err
	}
	root := filepath.Join(p.dir, "containers", c.Name)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return containerPlan{}, err
	}
	plan := containerPlan{
		Root: root, Program: program, Name: name, Command: command, Env: env.pairs,
		Dir: c.WorkingDir, Hostname: p.object.Name, Mounts: mounts,
	}
	plan.UID, plan.GID = user(p.object.Spec.SecurityContext, c.SecurityContext)
	if s := c.SecurityContext; s != nil {
		plan.ReadOnly = isTrue(s.ReadOnlyRootFilesystem)
	}
	return plan, nil
}

// mounts returns the folders for a container's volume mounts.
func (p *pod) mounts(c *v1.Container, env *environment) ([]mount, error) {
	var mounts []mount
	account := false
	for _, m := range c.VolumeMounts {
		v, ok := p.volumes[m.Name]
		if !ok {
			return nil, fmt.Errorf("no volume %q", m.Name)
		}
		source := filepath.Join(v.dir, m.SubPath)
		if m.SubPathExpr != "" {
			source = filepath.Join(v.dir, env.expand(m.SubPathExpr))
		}
		if v.source.EmptyDir != nil {
			if err := os.MkdirAll(source, 0o777); err != nil {
				return nil, err
			}
		}
		readOnly := m.ReadOnly || v.source.EmptyDir == nil
		mounts = append(mounts, mount{Source: source, Target: m.MountPath, ReadOnly: readOnly})
		account = account || filepath.Clean(m.MountPath) == accountMount
	}
	if v, ok := p.volumes[accountVolume]; ok && !account {
		mounts = append(mounts, mount{Source: v.dir, Target: accountMount, ReadOnly: true})
	}
	return mounts, nil
}

// user returns the user and group of a container. The settings of the container take precedence
// over those of the pod.
func user(pod *v1.PodSecurityContext, own *v1.SecurityContext) (uid, gid int) {
	var as, group *int64
	notRoot := false
	if pod != nil {
		as, group, notRoot = pod.RunAsUser, pod.RunAsGroup, isTrue(pod.RunAsNonRoot)
	}
	if own != nil {
		if own.RunAsUser != nil {
			as = own.RunAsUser
		}
		if own.RunAsGroup != nil {
			group = own.RunAsGroup
		}
		if own.RunAsNonRoot != nil {
			notRoot = *own.RunAsNonRoot
		}
	}
	switch {
	case !manyUsers():
		return 0, 0
	case as != nil:
		uid = int(*as)
	case notRoot:
		uid, gid = someUser, someUser
	}
	if group != nil {
		gid = int(*group)
	}
	return uid, gid
}

// manyUsers returns false in a user namespace with only one user, which is used by a cluster that
// was started without root.
func manyUsers() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(text))
	return err == nil && len(fields) >= 3 && fields[2] != "1"
}

// look updates the readiness of the container.
func (c *container) look(ctx context.Context, p *pod) {
	if c.running() {
		c.readiness.look(ctx, c.spec, c.process, p.network.addr.String())
	} else {
		c.readiness.ready = false
	}
}
