package main

import (
	"io"
	"net"
	"sync"
)

// openDoor forwards each connection to address in the network namespace of the run. The listener
// was opened in the network namespace of the caller.
func openDoor(listener net.Listener, address string) {
	for {
		outside, err := listener.Accept()
		if err != nil {
			return
		}
		go passThrough(outside.(*net.TCPConn), address)
	}
}

func passThrough(outside *net.TCPConn, address string) {
	defer outside.Close()
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		return
	}
	inside := conn.(*net.TCPConn)
	defer inside.Close()
	var both sync.WaitGroup
	both.Go(func() { copyOneWay(inside, outside) })
	both.Go(func() { copyOneWay(outside, inside) })
	both.Wait()
}

// copyOneWay copies a stream including its end, so that either side can finish first.
func copyOneWay(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		// After an error in one direction, the other direction is of no use.
		to.Close()
		from.Close()
		return
	}
	_ = to.CloseWrite()
}
