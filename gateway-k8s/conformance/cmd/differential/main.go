// Command differential compares `towergate check` with a real API server.
//
// It generates objects from the validation schemas that towergate-k8s embeds: a valid object of
// each kind, and variants of it in which one field is added, removed or changed. Each object is
// sent to the API server of the test cluster as a dry run, and to `towergate check` as a file. Both
// must accept it or both must reject it. Intended differences are listed in differences.go and in
// docs/validation.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sort"
	"time"
)

func main() {
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "credentials of the API server")
	program := flag.String("towergate", "towergate", "the program to compare")
	schemas := flag.String("schemas", "", "the generated file schemas.json")
	limit := flag.Int("limit", 400, "variants of each kind; 0: all")
	seed := flag.Uint64("seed", 1, "chooses the variants")
	flag.Parse()
	if err := run(*kubeconfig, *program, *schemas, *limit, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "differential:", err)
		os.Exit(1)
	}
}

// count is the number of compared objects of a kind.
type count struct{ objects, refused, differences int }

func run(kubeconfig, program, schemas string, limit int, seed uint64) error {
	begun := time.Now()
	found, err := readCatalog(schemas)
	if err != nil {
		return err
	}
	cases, err := generate(found, limit, seed)
	if err != nil {
		return err
	}
	server, err := newServer(kubeconfig)
	if err != nil {
		return err
	}
	if err := server.tryAll(context.Background(), cases); err != nil {
		return err
	}
	if err := checkAll(program, cases); err != nil {
		return err
	}
	counts := map[string]*count{}
	unexplained := 0
	for _, one := range cases {
		of := counts[one.kind]
		if of == nil {
			of = &count{}
			counts[one.kind] = of
		}
		of.objects++
		if one.server.refused {
			of.refused++
		}
		if one.server.refused == one.towergate.refused {
			continue
		}
		if explained(one) {
			of.differences++
			continue
		}
		unexplained++
		fmt.Printf("%s %s\n  object:     %s\n  API server: %s\n  towergate:  %s\n",
			one.kind, one.change, one.text, one.server, one.towergate)
	}
	report(counts)
	fmt.Printf("%d objects in %.0f s\n", len(cases), time.Since(begun).Seconds())
	if unexplained > 0 {
		return fmt.Errorf("%d differences", unexplained)
	}
	return nil
}

// report prints a table of the compared objects.
func report(counts map[string]*count) {
	kinds := make([]string, 0, len(counts))
	for kind := range counts {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	fmt.Printf("%-22s %8s %8s %17s\n", "kind", "objects", "rejected", "known differences")
	for _, kind := range kinds {
		of := counts[kind]
		fmt.Printf("%-22s %8d %8d %17d\n", kind, of.objects, of.refused, of.differences)
	}
}
