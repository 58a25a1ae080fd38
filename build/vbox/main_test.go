// Package vbox proves otad on whole virtual machines: U-Boot, a Linux kernel,
// two slots, a watchdog, and the otad binary that boxes get. `make e2e` builds
// the boxes and runs this; plain `go test` skips it. docs/virtual-box.md.
package vbox

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// parts is where mkbox.sh put the parts of the boxes, from E2E; empty: skip.
var parts string

// architectures are those of the boxes.
var architectures = []string{"arm64", "armhf"}

// row is a line of the table at the end.
type row struct {
	scenario, arch string
	boots          int
	// Of power cuts: instants, those that were followed until 2 was confirmed,
	// and boots of the longest.
	cuts, confirmed, most int
	took, spent           time.Duration
	froze                 bool // the machine, not the box; the scenario was begun again
	verdict               string
}

var table struct {
	sync.Mutex
	rows []row
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("E2E"); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		parts = abs
		// Where Debian keeps the tools that make file systems.
		os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	}
	code := m.Run()
	printTable()
	os.Exit(code)
}

func printTable() {
	if len(table.rows) == 0 {
		return
	}
	slices.SortFunc(table.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.scenario, b.scenario), cmp.Compare(a.arch, b.arch))
	})
	fmt.Printf("\n| scenario | architecture | boots | seconds | of a core | verdict |\n|---|---|---|---|---|---|\n")
	for _, r := range table.rows {
		fmt.Printf("| %s | %s | %d | %.0f | %.0f | %s |\n", r.scenario, r.arch, r.boots, r.took.Seconds(), r.spent.Seconds(), r.verdict)
	}
	fmt.Println()
}

// short leaves out, on ARMv7, what is much the same as on arm64, and follows
// most power cuts only until the update is under way again.
var short = os.Getenv("E2E_SHORT") != ""

// wanted tells whether boxes of this architecture are to run: all, or the one
// that E2E_ARCH names.
func wanted(arch string) bool { return cmp.Or(os.Getenv("E2E_ARCH"), arch) == arch }

// scenario runs play on a box of each architecture, as a line of the table.
func scenario(t *testing.T, s setup, play func(r *rig)) {
	if parts == "" {
		t.Skip("E2E does not name the boxes' directory: `make e2e` does")
	}
	t.Parallel()
	for _, arch := range architectures {
		if s.only != "" && s.only != arch || !wanted(arch) || short && arch == "armhf" && !s.always && s.only == "" {
			continue
		}
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			onMachine(t, arch, s, func(r *rig) {
				defer func() {
					r.cut()
					if !r.froze {
						r.enter("")
					}
				}()
				play(r)
			})
		})
	}
}

// enter writes the line of a box whose test, or attempt, is at its end; the
// scenario is named by the test when it has no other name.
func (r *rig) enter(scenario string) {
	enter(r.t, row{scenario: scenario, arch: r.arch, boots: r.boots, took: time.Since(r.began), spent: r.spent, froze: r.froze})
}

// enter writes the line of a test that is at its end.
func enter(t *testing.T, r row) {
	r.verdict = "pass"
	switch {
	case t.Failed():
		r.verdict = "FAIL"
	case t.Skipped():
		r.verdict = "skipped"
	case r.froze:
		r.verdict = "the machine froze"
	}
	if r.scenario == "" {
		r.scenario, _, _ = strings.Cut(strings.TrimPrefix(t.Name(), "Test"), "/")
	}
	table.Lock()
	defer table.Unlock()
	table.rows = append(table.rows, r)
}
