package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// builtIn are programs of the folder -bin, by the name of the image that they stand for.
var builtIn = map[string]string{
	// The suite's own echo server, built from its source.
	"echo-basic": "echo-basic",
	// Any answer to a DNS query satisfies the suite.
	"coredns": "dns",
	// The application of the guide, which tells what it gets.
	"echo-server": "echo-server",
}

// images says which local program runs for an image.
type images struct {
	file, bin string
}

// find gives the program for an image, and the name that it has inside a container. The file is
// read each time, so a program can be added while the cluster runs.
func (i images) find(image string) (program, name string, err error) {
	name = imageName(image)
	text, err := os.ReadFile(i.file)
	if err != nil && !os.IsNotExist(err) {
		return "", "", err
	}
	if program := lastProgram(string(text), name); program != "" {
		return program, name, nil
	}
	if program, ok := builtIn[name]; ok {
		return filepath.Join(i.bin, program), name, nil
	}
	return "", "", fmt.Errorf("no program for image %q: `cluster image %s=PROGRAM` adds one",
		image, name)
}

// lastProgram reads lines NAME=PROGRAM; the last one for a name counts.
func lastProgram(text, name string) string {
	program := ""
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && key == name {
			program = value
		}
	}
	return program
}

// imageName leaves out registry, folders, tag and digest.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndex(image, "/")+1:]
	name, _, _ := strings.Cut(image, ":")
	return name
}
