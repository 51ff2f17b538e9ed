package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// logServer is the part of a kubelet's API that the API server uses for `kubectl logs`.
type logServer struct {
	*http.Server
	port int
}

// serveLogs listens on the node's address, for clients with a certificate of the CA of the run.
func serveLogs(s settings) (*logServer, error) {
	ca, err := os.ReadFile(s.ca)
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(ca) {
		return nil, errors.New("the CA file contains no certificate")
	}
	own, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp4", net.JoinHostPort(s.address, "0"))
	if err != nil {
		return nil, fmt.Errorf("the log server: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", logHandler(s.logs))
	server := &http.Server{
		Handler: mux,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{own},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    clients,
		},
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	return &logServer{server, listener.Addr().(*net.TCPAddr).Port}, nil
}

// logHandler responds with the lines of a container's log that match the query.
func logHandler(dir string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		names := []string{r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")}
		for _, name := range names {
			if strings.ContainsRune(name, filepath.Separator) {
				http.Error(w, "not a name", http.StatusBadRequest)
				return
			}
		}
		query, err := parseLogQuery(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		file, err := os.Open(logPath(dir, names[0], names[1], names[2]))
		if err != nil {
			http.Error(w, "the container has not been started", http.StatusNotFound)
			return
		}
		defer file.Close()
		w.Header().Set("Content-Type", "text/plain")
		// If the client disconnects, the copy ends; the error cannot be reported to it.
		_ = query.copy(r.Context(), w, file)
	}
}
