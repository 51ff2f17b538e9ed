package main

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

// addresses assigns addresses of the pod network to pods. A released address is reused only after
// all others, so that stale traffic for a former pod reaches no other pod.
type addresses struct {
	mu      sync.Mutex
	network netip.Prefix
	node    netip.Addr
	last    netip.Addr
	used    map[netip.Addr]bool
}

func newAddresses(network, node string) (*addresses, error) {
	prefix, err := netip.ParsePrefix(network)
	if err != nil {
		return nil, fmt.Errorf("the pod network: %w", err)
	}
	own, err := netip.ParseAddr(node)
	if err != nil {
		return nil, fmt.Errorf("the node's address: %w", err)
	}
	prefix = prefix.Masked()
	return &addresses{
		network: prefix, node: own, last: prefix.Addr(), used: map[netip.Addr]bool{}}, nil
}

// take returns an unused address.
func (a *addresses) take() (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for wrapped := false; ; {
		next := a.last.Next()
		if !a.network.Contains(next) {
			if wrapped {
				return netip.Addr{}, errors.New("no address is left for a pod")
			}
			wrapped = true
			next = a.network.Addr().Next()
		}
		a.last = next
		broadcast := !a.network.Contains(next.Next())
		if next != a.node && !broadcast && !a.used[next] {
			a.used[next] = true
			return next, nil
		}
	}
}

// giveBack releases an address.
func (a *addresses) giveBack(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.used, addr)
}
