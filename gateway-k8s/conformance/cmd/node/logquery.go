package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// logQuery are the options of `kubectl logs`.
type logQuery struct {
	// since omits older lines.
	since time.Time
	// tail is the number of last lines to start with; all lines if negative.
	tail int
	// limit is the maximum number of bytes of the response; unlimited if negative.
	limit int64
	// follow waits for further lines; timestamps adds the time to each line.
	follow, timestamps bool
	// stream is "stdout" or "stderr"; both if empty.
	stream string
}

// parseLogQuery parses the query of GET /containerLogs, which the API server derives from
// PodLogOptions.
func parseLogQuery(values url.Values) (logQuery, error) {
	q := logQuery{tail: -1, limit: -1}
	var failed error
	read := func(name string, parse func(string) error) {
		if text := values.Get(name); text != "" {
			if err := parse(text); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s=%s: %w", name, text, err))
			}
		}
	}
	read("sinceTime", func(text string) (err error) {
		q.since, err = time.Parse(time.RFC3339, text)
		return err
	})
	read("sinceSeconds", func(text string) error {
		seconds, err := strconv.ParseInt(text, 10, 64)
		q.since = time.Now().Add(-time.Duration(seconds) * time.Second)
		return err
	})
	read("tailLines", func(text string) (err error) {
		q.tail, err = strconv.Atoi(text)
		return err
	})
	read("limitBytes", func(text string) (err error) {
		q.limit, err = strconv.ParseInt(text, 10, 64)
		return err
	})
	read("follow", func(text string) (err error) {
		q.follow, err = strconv.ParseBool(text)
		return err
	})
	read("timestamps", func(text string) (err error) {
		q.timestamps, err = strconv.ParseBool(text)
		return err
	})
	read("previous", func(text string) error {
		if previous, err := strconv.ParseBool(text); err != nil || previous {
			return errors.New("all starts of a container share one log here")
		}
		return nil
	})
	read("stream", func(text string) error {
		q.stream = map[string]string{"Stdout": "stdout", "Stderr": "stderr"}[text]
		return nil
	})
	return q, failed
}

// followPause is the interval at which a followed log is read.
const followPause = 100 * time.Millisecond

// copy writes the lines of log that match the query.
func (q *logQuery) copy(ctx context.Context, w io.Writer, log io.Reader) error {
	reader := bufio.NewReader(log)
	var pending []byte
	var held [][]byte
	// All existing lines are read first, because tail selects the last of them.
	for {
		line, ok, err := nextLine(reader, &pending)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if shown, ok := q.show(line); ok {
			held = append(held, shown)
		}
	}
	if q.tail >= 0 && len(held) > q.tail {
		held = held[len(held)-q.tail:]
	}
	for _, line := range held {
		if err := q.write(w, line); err != nil {
			return err
		}
	}
	for q.follow && ctx.Err() == nil {
		line, ok, err := nextLine(reader, &pending)
		if err != nil {
			return err
		}
		if !ok {
			flush(w)
			time.Sleep(followPause)
			continue
		}
		if shown, ok := q.show(line); ok {
			if err := q.write(w, shown); err != nil {
				return err
			}
		}
	}
	return nil
}

// nextLine returns a complete line. At the end of the file, it keeps an incomplete line in pending.
func nextLine(reader *bufio.Reader, pending *[]byte) (line []byte, ok bool, err error) {
	part, err := reader.ReadBytes('\n')
	*pending = append(*pending, part...)
	if err == io.EOF {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	line, *pending = *pending, nil
	return line, true, nil
}

// show returns the part of a line that the client receives; "" if none.
func (q *logQuery) show(line []byte) ([]byte, bool) {
	stamp, rest, _ := bytes.Cut(line, []byte(" "))
	stream, text, _ := bytes.Cut(rest, []byte(" "))
	if q.stream != "" && string(stream) != q.stream {
		return nil, false
	}
	if !q.since.IsZero() {
		at, err := time.Parse(time.RFC3339Nano, string(stamp))
		if err != nil || at.Before(q.since) {
			return nil, false
		}
	}
	if !q.timestamps {
		return text, true
	}
	return bytes.Join([][]byte{stamp, text}, []byte(" ")), true
}

// errLimit ends a response that has reached its limit.
var errLimit = errors.New("the limit is reached")

func (q *logQuery) write(w io.Writer, line []byte) error {
	if q.limit >= 0 {
		line = line[:min(int64(len(line)), q.limit)]
		q.limit -= int64(len(line))
	}
	if _, err := w.Write(line); err != nil {
		return err
	}
	if q.limit == 0 {
		return errLimit
	}
	return nil
}

func flush(w io.Writer) {
	if flusher, ok := w.(http.Flusher); ok {
		flusher.Flush()
	}
}
