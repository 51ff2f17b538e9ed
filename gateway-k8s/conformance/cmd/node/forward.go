package main

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

// sessionLimit is the idle timeout of a UDP session.
const sessionLimit = 30 * time.Second

// serveTCP forwards connections until the listener is closed.
func (b *balancer) serveTCP(listener net.Listener, f frontend) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go b.forward(client.(*net.TCPConn), f)
	}
}

func (b *balancer) forward(client *net.TCPConn, f frontend) {
	defer client.Close()
	address, err := b.choose(f)
	if err != nil {
		// A reset, as from a port without a listener.
		_ = client.SetLinger(0)
		return
	}
	conn, err := net.DialTimeout("tcp4", address, 5*time.Second)
	if err != nil {
		_ = client.SetLinger(0)
		return
	}
	backend := conn.(*net.TCPConn)
	defer backend.Close()
	var both sync.WaitGroup
	both.Go(func() { copyOneWay(backend, client) })
	both.Go(func() { copyOneWay(client, backend) })
	both.Wait()
}

// copyOneWay copies a stream including its end. An error in one direction ends both.
func copyOneWay(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.SetLinger(0)
		to.Close()
		from.Close()
		return
	}
	_ = to.CloseWrite()
}

// serveUDP forwards datagrams until the socket is closed. All datagrams of one client address and
// port are sent to the same endpoint, and the responses have the address to which the client sent.
func (b *balancer) serveUDP(socket *net.UDPConn, f frontend) {
	var mu sync.Mutex
	sessions := map[netip.AddrPort]*net.UDPConn{}
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		for _, session := range sessions {
			session.Close()
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, client, err := socket.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		mu.Lock()
		session := sessions[client]
		mu.Unlock()
		if session == nil {
			session, err = b.openSession(f)
			if err != nil {
				klog.V(2).ErrorS(err, "A datagram is lost")
				continue
			}
			mu.Lock()
			sessions[client] = session
			mu.Unlock()
			go func() {
				answer(socket, client, session)
				mu.Lock()
				delete(sessions, client)
				mu.Unlock()
			}()
		}
		_ = session.SetReadDeadline(time.Now().Add(sessionLimit))
		_, _ = session.Write(buffer[:n])
	}
}

func (b *balancer) openSession(f frontend) (*net.UDPConn, error) {
	address, err := b.choose(f)
	if err != nil {
		return nil, err
	}
	to, err := net.ResolveUDPAddr("udp4", address)
	if err != nil {
		return nil, err
	}
	return net.DialUDP("udp4", nil, to)
}

// answer forwards an endpoint's datagrams to the client until the session is idle.
func answer(socket *net.UDPConn, client netip.AddrPort, session *net.UDPConn) {
	defer session.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := session.Read(buffer)
		if err != nil {
			return
		}
		_ = session.SetReadDeadline(time.Now().Add(sessionLimit))
		if _, err := socket.WriteToUDPAddrPort(buffer[:n], client); err != nil {
			return
		}
	}
}
