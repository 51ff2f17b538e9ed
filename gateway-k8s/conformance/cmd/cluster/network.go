package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// prepareNetwork configures the empty network namespace of the run as that of a node. There is no
// default route, so addresses outside of the cluster are unreachable.
func prepareNetwork(port int) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("the loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("the loopback interface: %w", err)
	}
	addr, err := netlink.ParseAddr(nodeIP + "/32")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(lo, addr); err != nil {
		return fmt.Errorf("the node's address %s: %w", nodeIP, err)
	}
	// "local" routes make every address of a network an address of this node (AnyIP), so that a data
	// plane can bind a new one for each Gateway without preparation.
	_, own, err := net.ParseCIDR(ownNetwork)
	if err != nil {
		return err
	}
	route := &netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: own, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL,
		Scope: netlink.SCOPE_HOST,
	}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("the addresses of %s: %w", ownNetwork, err)
	}
	return setSysctls(map[string]string{
		// The node forwards packets between pods.
		"net.ipv4.ip_forward": "1",
		// The API server's port is above 1024. This reserves the port, so that no outgoing connection
		// uses it while the API server restarts.
		"net.ipv4.ip_local_reserved_ports": strconv.Itoa(port),
		// Data planes without root may bind ports 80 and 443.
		"net.ipv4.ip_unprivileged_port_start": "0",
	})
}

func setSysctls(values map[string]string) error {
	for name, value := range values {
		path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("sysctl %s=%s: %w", name, value, err)
		}
	}
	return nil
}
