package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// settle is the time after which a program that declares and opens no port counts as ready.
const settle = time.Second

// patience is the time after which a program counts as ready even if a declared port is not open.
// Declarations are informational, and some tests have programs that open another port.
const patience = 10 * time.Second

// readiness is the readiness of one container.
type readiness struct {
	ready bool
	// next is the time of the next check; failures and successes are consecutive.
	next                time.Time
	failures, successes int32
}

// look updates the state. A readinessProbe is executed as in a kubelet. Without a probe, a
// container is ready at once in a kubelet; here its ports must be open first, because tests send
// traffic as soon as the pod is ready.
func (r *readiness) look(ctx context.Context, c *v1.Container, p *process, addr string) {
	probe := c.ReadinessProbe
	if probe == nil {
		r.ready = r.ready || portsOpen(c, p)
		return
	}
	now := time.Now()
	first := p.began.Add(time.Duration(probe.InitialDelaySeconds) * time.Second)
	if now.Before(r.next) || now.Before(first) {
		return
	}
	r.next = now.Add(time.Duration(max(probe.PeriodSeconds, 1)) * time.Second)
	if err := try(ctx, probe, c, addr); err != nil {
		r.successes = 0
		if r.failures++; r.failures >= max(probe.FailureThreshold, 1) {
			r.ready = false
		}
		if !r.ready {
			// At the start, checks are more frequent than specified, because tests wait for them.
			r.next = now.Add(100 * time.Millisecond)
		}
		return
	}
	r.failures = 0
	if r.successes++; r.successes >= max(probe.SuccessThreshold, 1) {
		r.ready = true
	}
}

// try executes a probe once.
func try(ctx context.Context, probe *v1.Probe, c *v1.Container, addr string) error {
	limit := time.Duration(max(probe.TimeoutSeconds, 1)) * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	switch {
	case probe.HTTPGet != nil:
		return tryHTTP(ctx, probe.HTTPGet, c, addr)
	case probe.TCPSocket != nil:
		address, err := probeAddress(probe.TCPSocket.Host, probe.TCPSocket.Port, c, addr)
		if err != nil {
			return err
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return fmt.Errorf("only httpGet and tcpSocket probes are supported")
}

func tryHTTP(ctx context.Context, get *v1.HTTPGetAction, c *v1.Container, addr string) error {
	address, err := probeAddress(get.Host, get.Port, c, addr)
	if err != nil {
		return err
	}
	url := strings.ToLower(string(get.Scheme)) + "://" + address + "/" + strings.TrimPrefix(get.Path, "/")
	if get.Scheme == "" {
		url = "http" + url // the default scheme is http
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for _, header := range get.HTTPHeaders {
		if strings.EqualFold(header.Name, "Host") {
			request.Host = header.Value
		}
		request.Header.Set(header.Name, header.Value)
	}
	answer, err := probeClient.Do(request)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode >= 400 {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}

// probeClient does not verify certificates and accepts redirects as responses, as kubelets do.
var probeClient = &http.Client{
	Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func probeAddress(host string, port intstr.IntOrString, c *v1.Container, addr string) (string, error) {
	if host == "" {
		host = addr
	}
	if port.Type == intstr.Int {
		return net.JoinHostPort(host, strconv.Itoa(port.IntValue())), nil
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return net.JoinHostPort(host, strconv.Itoa(int(p.ContainerPort))), nil
		}
	}
	return "", fmt.Errorf("the container has no port %q", port.StrVal)
}

// portsOpen returns whether all declared ports of a container are open, or any port if it declares
// none. A program that does not open them counts as ready after some time.
func portsOpen(c *v1.Container, p *process) bool {
	open, err := openPorts(p.pid())
	if err != nil {
		return false
	}
	if len(c.Ports) == 0 {
		return len(open) > 0 || time.Since(p.began) > settle
	}
	for _, port := range c.Ports {
		protocol := "tcp"
		if port.Protocol == v1.ProtocolUDP {
			protocol = "udp"
		}
		if !open[fmt.Sprintf("%s/%d", protocol, port.ContainerPort)] {
			return time.Since(p.began) > patience
		}
	}
	return true
}

// openPorts returns the open ports in the network namespace of a process, such as "tcp/80".
func openPorts(pid int) (map[string]bool, error) {
	open := map[string]bool{}
	for _, protocol := range []string{"tcp", "udp"} {
		for _, family := range []string{"", "6"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s%s", pid, protocol, family))
			if os.IsNotExist(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, port := range listening(string(text), protocol) {
				open[fmt.Sprintf("%s/%d", protocol, port)] = true
			}
		}
	}
	return open, nil
}

// listening parses a table of /proc/net. In its fourth column, 0A is a listening TCP socket, and 07
// is a UDP socket that is not connected (see proc_net_tcp in the kernel's documentation).
func listening(table, protocol string) []uint16 {
	state := "0A"
	if protocol == "udp" {
		state = "07"
	}
	var ports []uint16
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != state {
			continue
		}
		_, hex, found := strings.Cut(fields[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		if found && err == nil {
			ports = append(ports, uint16(port))
		}
	}
	return ports
}
