package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// linkPrefix is the prefix of the names of pod links in the node's network namespace.
const linkPrefix = "pod"

// podNetwork is the network namespace of one pod, linked to that of the node by a pair of
// interfaces. The open file keeps the namespace while no container runs.
type podNetwork struct {
	addr  netip.Addr
	space *os.File
	link  string
}

// newPodNetwork creates a namespace with the addresses addr and loopback.
func newPodNetwork(addr netip.Addr, node string) (*podNetwork, error) {
	space, err := newSpace()
	if err != nil {
		return nil, fmt.Errorf("a network namespace: %w", err)
	}
	bytes := addr.As4()
	n := &podNetwork{
		addr: addr, space: space,
		link: fmt.Sprintf("%s%d-%d", linkPrefix, bytes[2], bytes[3]),
	}
	if err := n.connect(net.ParseIP(node)); err != nil {
		n.close()
		return nil, fmt.Errorf("the network of %s: %w", addr, err)
	}
	return n, nil
}

// newSpace creates an empty network namespace.
func newSpace() (*os.File, error) {
	var space *os.File
	err := forks.do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		// forks.do returns the thread to the network namespace of the node.
		if err := setPodSysctls(); err != nil {
			return err
		}
		var err error
		space, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return space, err
}

// setPodSysctls sets sysctls of the calling thread's network namespace.
func setPodSysctls() error {
	// As in container runtimes, a program without root may bind ports below 1024.
	const path = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
	return os.WriteFile(path, []byte("0"), 0o644)
}

// connect creates both ends of the link, with addresses and routes.
func (n *podNetwork) connect(node net.IP) error {
	pair := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: n.link},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(int(n.space.Fd())),
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("the link: %w", err)
	}
	here, err := netlink.LinkByName(n.link)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(here); err != nil {
		return err
	}
	err = netlink.RouteAdd(&netlink.Route{
		LinkIndex: here.Attrs().Index, Dst: host(n.addr.AsSlice()), Src: node,
		Scope: netlink.SCOPE_LINK,
	})
	if err != nil {
		return fmt.Errorf("the node's route: %w", err)
	}
	return n.connectInside(node)
}

// connectInside configures the pod's end. The node responds to ARP requests for its address on
// every link, so it can be the gateway of a pod in another network.
func (n *podNetwork) connectInside(node net.IP) error {
	inside, err := netlink.NewHandleAt(netns.NsHandle(n.space.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer inside.Close()
	for _, name := range []string{"lo", "eth0"} {
		link, err := inside.LinkByName(name)
		if err != nil {
			return err
		}
		if err := inside.LinkSetUp(link); err != nil {
			return err
		}
	}
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: host(n.addr.AsSlice())}
	if err := inside.AddrAdd(eth0, addr); err != nil {
		return fmt.Errorf("the address: %w", err)
	}
	index := eth0.Attrs().Index
	toNode := &netlink.Route{LinkIndex: index, Dst: host(node), Scope: netlink.SCOPE_LINK}
	if err := inside.RouteAdd(toNode); err != nil {
		return fmt.Errorf("the route to the node: %w", err)
	}
	everywhere := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	err = inside.RouteAdd(&netlink.Route{LinkIndex: index, Dst: everywhere, Gw: node})
	if err != nil {
		return fmt.Errorf("the default route: %w", err)
	}
	return nil
}

// close removes the link. The namespace ends with its last process.
func (n *podNetwork) close() {
	if link, err := netlink.LinkByName(n.link); err == nil {
		_ = netlink.LinkDel(link)
	}
	n.space.Close()
}

func host(ip net.IP) *net.IPNet {
	return &net.IPNet{IP: ip.To4(), Mask: net.CIDRMask(32, 32)}
}

// removeLinks removes the links that a killed agent has left behind. Its pods ended with it.
func removeLinks() error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, link := range links {
		if strings.HasPrefix(link.Attrs().Name, linkPrefix) {
			if err := netlink.LinkDel(link); err != nil {
				return fmt.Errorf("removing %s: %w", link.Attrs().Name, err)
			}
		}
	}
	return nil
}
