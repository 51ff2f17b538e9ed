package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// options are the options of up.
type options struct {
	// Channel of the Gateway API CRDs: experimental, standard or none.
	Channel string
	// Policies is whether Envoy Gateway's policy CRDs are installed.
	Policies bool
	// AllowAll turns authorization off; otherwise RBAC is on.
	AllowAll bool
	// Images maps an image's name (without registry, folder and tag) to a program.
	Images map[string]string
}

func parseOptions(args []string) (options, error) {
	o := options{Images: map[string]string{}}
	set := flag.NewFlagSet("cluster up", flag.ContinueOnError)
	set.StringVar(&o.Channel, "channel", "experimental",
		"channel of the Gateway API CRDs: experimental, standard or none")
	set.BoolVar(&o.Policies, "policies", true, "install Envoy Gateway's policy CRDs")
	set.BoolVar(&o.AllowAll, "allow-all", false, "switch RBAC off")
	set.Func("image", "NAME=PROGRAM: run PROGRAM for containers of image NAME; may be repeated",
		func(arg string) error {
			name, program, err := parseImage(arg)
			o.Images[name] = program
			return err
		})
	if err := set.Parse(args); err != nil {
		return o, exitStatus(2)
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("up takes no argument %q", set.Arg(0))
	}
	switch o.Channel {
	case "experimental", "standard", "none":
		return o, nil
	}
	return o, fmt.Errorf("--channel=%s: use experimental, standard or none", o.Channel)
}

// parseImage splits NAME=PROGRAM and makes PROGRAM absolute, because pods have other working
// folders.
func parseImage(arg string) (name, program string, err error) {
	name, program, found := strings.Cut(arg, "=")
	if !found || name == "" || program == "" {
		return "", "", fmt.Errorf("%q is not NAME=PROGRAM", arg)
	}
	program, err = filepath.Abs(program)
	if err != nil {
		return "", "", err
	}
	if info, err := os.Stat(program); err != nil {
		return "", "", err
	} else if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return "", "", fmt.Errorf("%s is not a program", program)
	}
	return name, program, nil
}

// same returns whether a running cluster has the options o. Images are not compared, because they
// can be added while the cluster runs.
func (o options) same(other options) bool {
	o.Images, other.Images = nil, nil
	return reflect.DeepEqual(o, other)
}
