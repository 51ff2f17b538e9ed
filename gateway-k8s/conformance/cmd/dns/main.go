// Command dns answers DNS queries over UDP. It replaces the CoreDNS pod of the conformance suite.
//
// Like CoreDNS's whoami, it responds to a query with an empty answer section and, in the additional
// section, the source address and port of the query. The suite sends its query through a UDP
// listener and accepts any well-formed response.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/miekg/dns"
)

func main() {
	addr := flag.String("listen", ":53", "UDP address")
	// The pod's arguments name a Corefile. Its zones are not read: the response does not depend on the
	// name.
	flag.String("conf", "", "ignored")
	flag.Parse()

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	server := &dns.Server{Addr: *addr, Net: "udp", Handler: dns.HandlerFunc(answer)}
	go func() {
		<-stop
		_ = server.Shutdown()
	}()
	if err := server.ListenAndServe(); err != nil {
		fmt.Fprintln(os.Stderr, "dns:", err)
		os.Exit(1)
	}
}

// answer responds with the source address of the query.
func answer(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(query)
	reply.Authoritative = true
	if len(query.Question) == 1 {
		reply.Extra = whoami(query.Question[0].Name, w.RemoteAddr())
		fmt.Println("answered", query.Question[0].Name, "for", w.RemoteAddr())
	}
	if err := w.WriteMsg(reply); err != nil {
		fmt.Fprintln(os.Stderr, "dns:", err)
	}
}

// whoami returns the client's address as an A or AAAA record and its port as an SRV record.
func whoami(name string, client net.Addr) []dns.RR {
	host, port, err := net.SplitHostPort(client.String())
	if err != nil {
		return nil
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil
	}
	srv := &dns.SRV{
		Hdr:    dns.RR_Header{Name: "_udp." + name, Rrtype: dns.TypeSRV, Class: dns.ClassINET},
		Port:   uint16(number),
		Target: ".",
	}
	ip := net.ParseIP(host)
	if v4 := ip.To4(); v4 != nil {
		head := dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET}
		return []dns.RR{&dns.A{Hdr: head, A: v4}, srv}
	}
	head := dns.RR_Header{Name: name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET}
	return []dns.RR{&dns.AAAA{Hdr: head, AAAA: ip}, srv}
}
