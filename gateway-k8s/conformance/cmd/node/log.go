package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// containerLog writes the output of a container, each line with its time and stream:
//
//	2026-01-02T15:04:05.999999999Z stdout text
type containerLog struct {
	mu      sync.Mutex
	file    *os.File
	streams []*logStream
}

// logPath is the path of a container's log, which contains the output of all its starts.
func logPath(dir, namespace, pod, container string) string {
	return filepath.Join(dir, fmt.Sprintf("%s_%s_%s.log", namespace, pod, container))
}

func openLog(path string) (*containerLog, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &containerLog{file: file}, nil
}

// stream returns the writer for one output of the container.
func (l *containerLog) stream(name string) io.Writer {
	s := &logStream{log: l, name: name}
	l.streams = append(l.streams, s)
	return s
}

// close writes incomplete lines. Nothing may be written afterwards.
func (l *containerLog) close() {
	for _, s := range l.streams {
		s.finish()
	}
	l.file.Close()
}

// longestLine is the length at which a line is split.
const longestLine = 64 << 10

// logStream buffers bytes until a line is complete.
type logStream struct {
	log  *containerLog
	name string
	part []byte
}

func (s *logStream) Write(data []byte) (int, error) {
	written := len(data)
	for len(data) > 0 {
		line, rest, complete := bytes.Cut(data, []byte("\n"))
		s.part = append(s.part, line...)
		data = rest
		if complete || len(s.part) > longestLine {
			if err := s.flush(); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

func (s *logStream) flush() error {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	now := time.Now().UTC().Format(time.RFC3339Nano)
	_, err := fmt.Fprintf(s.log.file, "%s %s %s\n", now, s.name, s.part)
	s.part = s.part[:0]
	return err
}

func (s *logStream) finish() {
	if len(s.part) > 0 {
		_ = s.flush()
	}
}
