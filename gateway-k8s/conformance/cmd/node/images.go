package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// builtIn are programs in the folder -bin, by the name of their image.
var builtIn = map[string]string{
	// The suite's own echo server, built from its source.
	"echo-basic": "echo-basic",
	// The suite accepts any response to a DNS query.
	"coredns": "dns",
	// The application of the guide, which returns the requests that it receives.
	"echo-server": "echo-server",
}

// images maps images to local programs.
type images struct {
	file, bin string
}

// find returns the program for an image, and its name inside a container. The file is read at each
// call, so that programs can be added while the cluster runs.
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

// lastProgram reads lines NAME=PROGRAM. Of several lines for a name, the last one applies.
func lastProgram(text, name string) string {
	program := ""
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && key == name {
			program = value
		}
	}
	return program
}

// imageName removes registry, folders, tag and digest.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndex(image, "/")+1:]
	name, _, _ := strings.Cut(image, ":")
	return name
}
