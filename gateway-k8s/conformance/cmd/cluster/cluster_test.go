package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStartTimeIsFoundBehindANameWithSpacesAndParentheses(t *testing.T) {
	stat := "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	got, err := parseStartTime(stat, 1)
	if err != nil || got != "4711" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestAZombieHasEnded(t *testing.T) {
	stat := "12 (a) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	if got, err := parseStartTime(stat, 1); err == nil {
		t.Fatalf("got %q", got)
	}
	if _, err := parseStartTime(stat, 2); err != nil {
		t.Fatalf("with a thread left: %v", err)
	}
}

func TestOurOwnProcessHasAStartTime(t *testing.T) {
	if got, err := startTime(os.Getpid()); err != nil || got == "" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestImageOptionsNameAProgramThatExists(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		arg string
		ok  bool
	}{
		{"name=" + program, true},
		{"name=" + plain, false},
		{"name=" + program + ".absent", false},
		{"name=/", false},
		{"=" + program, false},
		{"name=", false},
		{program, false},
	} {
		name, got, err := parseImage(c.arg)
		if (err == nil) != c.ok || c.ok && (name != "name" || got != program) {
			t.Errorf("%q: %q, %q, %v", c.arg, name, got, err)
		}
	}
}

func TestOptionsDifferInAllButImages(t *testing.T) {
	one := options{Channel: "standard", Images: map[string]string{"a": "b"}}
	two := options{Channel: "standard"}
	if !one.same(two) {
		t.Error("images must not count")
	}
	two.Policies = true
	if one.same(two) {
		t.Error("policies must count")
	}
}

func TestAManifestSaysWhereItsObjectLives(t *testing.T) {
	text := "# a comment\n---\nkind: CustomResourceDefinition\nmetadata:\n  name: a.b\n" +
		"---\nkind: ValidatingAdmissionPolicy\nmetadata: {name: c}\n---\n"
	var got []string
	for _, document := range documents([]byte(text)) {
		path, err := clusterPath(document)
		if err != nil {
			t.Fatal(err)
		}
		if path != "" {
			got = append(got, path)
		}
	}
	want := "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/a.b " +
		"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/c"
	if strings.Join(got, " ") != want {
		t.Fatalf("got %q", got)
	}
}

func TestAnUnexpectedObjectIsRefused(t *testing.T) {
	if path, err := clusterPath([]byte("kind: Pod\nmetadata: {name: a}")); err == nil {
		t.Fatalf("got %q", path)
	}
}

func TestARecordOfAProcessThatHasEndedIsNotAlive(t *testing.T) {
	d := dirs{state: t.TempDir()}
	if _, alive, err := d.read(); alive || err != nil {
		t.Fatalf("without a record: %t, %v", alive, err)
	}
	start, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		start string
		alive bool
	}{{start, true}, {"1", false}} {
		if err := d.write(running{PID: os.Getpid(), StartTime: c.start}); err != nil {
			t.Fatal(err)
		}
		if _, alive, err := d.read(); alive != c.alive || err != nil {
			t.Errorf("start %s: %t, %v", c.start, alive, err)
		}
	}
}
