package main

import (
	"bytes"
	"context"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

func TestImageNamesLoseRegistryFolderTagAndDigest(t *testing.T) {
	for image, want := range map[string]string{
		"registry.example/gateway-api/echo-basic:v1.5.1": "echo-basic",
		"localhost:5000/a/b":                             "b",
		"towergate":                                      "towergate",
		"towergate:dev@sha256:abc":                       "towergate",
	} {
		if got := imageName(image); got != want {
			t.Errorf("%s: got %q", image, got)
		}
	}
}

func TestTheLastProgramForANameCounts(t *testing.T) {
	text := "a=/1\nb=/2\n\na=/3\n"
	if got := lastProgram(text, "a"); got != "/3" {
		t.Errorf("got %q", got)
	}
	if got := lastProgram(text, "c"); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestAddressesAreUsedAgainOnlyAfterAllOthers(t *testing.T) {
	// Of the eight addresses, those of the network, of broadcasts and of the node are not assigned.
	a, err := newAddresses("10.9.0.0/29", "10.9.0.1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 5 {
		addr, err := a.take()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, addr.String())
		if len(got) <= 2 {
			a.giveBack(addr)
		}
	}
	want := "10.9.0.2 10.9.0.3 10.9.0.4 10.9.0.5 10.9.0.6"
	if strings.Join(got, " ") != want {
		t.Fatalf("got %q", got)
	}
	again, err := a.take()
	if err != nil || again != netip.MustParseAddr("10.9.0.2") {
		t.Fatalf("got %s, %v", again, err)
	}
	if _, err := a.take(); err != nil {
		t.Fatal(err)
	}
	if addr, err := a.take(); err == nil {
		t.Fatalf("%s was given twice", addr)
	}
}

const logText = `2026-01-01T00:00:00.5Z stdout one
2026-01-01T00:00:01Z stderr two
2026-01-01T00:00:02Z stdout three, with spaces
`

func TestLogQueriesChooseLines(t *testing.T) {
	for query, want := range map[string]string{
		"":                                   "one\ntwo\nthree, with spaces\n",
		"sinceTime=2026-01-01T00:00:01Z":     "two\nthree, with spaces\n",
		"tailLines=1":                        "three, with spaces\n",
		"tailLines=0":                        "",
		"limitBytes=5":                       "one\nt",
		"stream=Stderr":                      "two\n",
		"timestamps=true&tailLines=1":        "2026-01-01T00:00:02Z three, with spaces\n",
		"stream=All&tailLines=2&follow=0":    "two\nthree, with spaces\n",
		"sinceTime=2026-01-01T00%3A00%3A03Z": "",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		q, err := parseLogQuery(values)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		var got bytes.Buffer
		err = q.copy(context.Background(), &got, strings.NewReader(logText))
		if err != nil && err != errLimit || got.String() != want {
			t.Errorf("%s: %q, %v", query, got.String(), err)
		}
	}
}

func TestLogQueriesThatMakeNoSenseAreRefused(t *testing.T) {
	for _, query := range []string{"sinceTime=yesterday", "tailLines=x", "previous=true", "follow=?"} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := parseLogQuery(values); err == nil {
			t.Errorf("%s: %+v", query, q)
		}
	}
}

func TestAContainersLinesAreKeptWholeAndApart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	out, errors := log.stream("stdout"), log.stream("stderr")
	for _, part := range []string{"on", "e\ntw", "o"} {
		if _, err := out.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		if _, err := errors.Write([]byte("!")); err != nil {
			t.Fatal(err)
		}
	}
	log.close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(line, " ")
		got = append(got, strings.TrimSpace(rest))
	}
	if strings.Join(got, "|") != "stdout one|stdout two|stderr !!!" {
		t.Fatalf("got %q", got)
	}
}

func TestOpenPortsAreReadFromTheKernelsTables(t *testing.T) {
	table := "  sl  local_address rem_address   st tx_queue\n" +
		"   0: 00000000:0BB8 00000000:0000 0A 00000000:00000000\n" +
		"   1: 0100007F:1F90 0100007F:0BB8 01 00000000:00000000\n" +
		"   2: 00000000:0035 00000000:0000 07 00000000:00000000\n"
	if got := listening(table, "tcp"); len(got) != 1 || got[0] != 3000 {
		t.Errorf("tcp: %v", got)
	}
	if got := listening(table, "udp"); len(got) != 1 || got[0] != 53 {
		t.Errorf("udp: %v", got)
	}
}

func TestVolumesChangeAtOnceAndLoseFilesThatAreGone(t *testing.T) {
	dir := t.TempDir()
	first := files{"a": {[]byte("1"), 0o644}, "sub/b": {[]byte("2"), 0o600}}
	if err := writeFiles(dir, first); err != nil {
		t.Fatal(err)
	}
	expectFiles(t, dir, map[string]string{"a": "1", "sub/b": "2"})
	if err := writeFiles(dir, files{"a": {[]byte("3"), 0o644}, "c": {nil, 0o644}}); err != nil {
		t.Fatal(err)
	}
	expectFiles(t, dir, map[string]string{"a": "3", "c": ""})
	if _, err := os.Lstat(filepath.Join(dir, "sub")); !os.IsNotExist(err) {
		t.Errorf("sub is still there: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	// "..data", the folder that it points to, and the two links.
	if len(entries) != 4 {
		t.Errorf("left over: %v", entries)
	}
}

func expectFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != text {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestItemsChooseAndRenameKeys(t *testing.T) {
	data := map[string][]byte{"tls.crt": []byte("c"), "tls.key": []byte("k")}
	private := int32(0o400)
	got := files{}
	items := []v1.KeyToPath{{Key: "tls.key", Path: "key", Mode: &private}}
	if err := addKeys(got, data, items, false, 0o644); err != nil {
		t.Fatal(err)
	}
	want := files{"key": {[]byte("k"), fs.FileMode(0o400)}}
	if !got.equal(want) {
		t.Errorf("got %v", got)
	}
	absent := []v1.KeyToPath{{Key: "absent", Path: "x"}}
	if err := addKeys(files{}, data, absent, false, 0o644); err == nil {
		t.Error("a missing key is not noticed")
	}
	if err := addKeys(files{}, data, absent, true, 0o644); err != nil {
		t.Error(err)
	}
}

func TestVariablesMayNameEarlierOnes(t *testing.T) {
	e := &environment{}
	e.set("A", "1")
	e.set("B", e.expand("$(A)-$(UNKNOWN)-$$(A)"))
	e.set("A", "2")
	if got := strings.Join(e.pairs, " "); got != "B=1-$(UNKNOWN)-$(A) A=2" {
		t.Errorf("got %q", got)
	}
}

func TestAContainersUserCountsBeforeThePods(t *testing.T) {
	if !manyUsers() {
		t.Skip("only one user in this namespace")
	}
	id := func(n int64) *int64 { return &n }
	yes := true
	for name, c := range map[string]struct {
		pod      *v1.PodSecurityContext
		own      *v1.SecurityContext
		uid, gid int
	}{
		"nothing said": {nil, nil, 0, 0},
		"by the pod":   {&v1.PodSecurityContext{RunAsUser: id(7), RunAsGroup: id(8)}, nil, 7, 8},
		"by both": {
			&v1.PodSecurityContext{RunAsUser: id(7)}, &v1.SecurityContext{RunAsUser: id(9)}, 9, 0},
		"anybody but root": {nil, &v1.SecurityContext{RunAsNonRoot: &yes}, someUser, someUser},
	} {
		if uid, gid := user(c.pod, c.own); uid != c.uid || gid != c.gid {
			t.Errorf("%s: %d:%d", name, uid, gid)
		}
	}
}
