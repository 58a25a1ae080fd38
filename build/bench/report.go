package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

// results is a whole measurement.
type results struct {
	facts facts
	runs  []result
}

// report writes the tables, also into the page between its marks, if one is
// named. What benchstat said is in a file, or is left out.
func report(w io.Writer, page, benchstat string, all results) error {
	var b bytes.Buffer
	f := all.facts
	fmt.Fprintf(&b, "Measured %s on %d cores of %s, Linux %s: %s.\n", f.Date, f.Cores, f.Processor, f.Kernel, strings.Join(f.Versions, ", "))
	if text := targetsTable(all); text != "" {
		fmt.Fprintf(&b, "\n### What otad has to reach\n\n%s", text)
	}
	if text := peersTable(all); text != "" {
		fmt.Fprintf(&b, "\n### otad beside the others\n\n%s", text)
	}
	for _, mode := range []string{"local", "stream"} {
		lines, title := table(all, mode), modeTitles[mode]
		if len(lines) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s: time\n\n", title)
		fmt.Fprintln(&b, "| installer | wall s (min–max) | durable s | ÷ floor | ÷ floor+sha256 | CPU s | CPU ÷ floor+sha256 |")
		fmt.Fprintln(&b, "|---|---|---|---|---|---|---|")
		for _, l := range lines {
			fmt.Fprintln(&b, l.time())
		}
		fmt.Fprintf(&b, "\n### %s: space and traffic\n\n", title)
		fmt.Fprintln(&b, "| installer | idle RSS MiB | peak anon MiB | peak PSS MiB | VmHWM MiB | cgroup peak MiB | temp MiB | written MiB | read MiB | flushes | network MiB |")
		fmt.Fprintln(&b, "|---|---|---|---|---|---|---|---|---|---|---|")
		for _, l := range lines {
			fmt.Fprintln(&b, l.space())
		}
		if stages := stagesTable(lines); stages != "" {
			fmt.Fprintf(&b, "\n### %s: the stages of otad\n\n%s", title, stages)
		}
	}
	if text, err := os.ReadFile(benchstat); err == nil {
		fmt.Fprintf(&b, "\n### Hot paths of otad\n\nWhat benchstat makes of six runs of Go's own benchmarks (`make bench-go`).\n\n```\n%s```\n", text)
	}
	if faults := faultsOf(all); faults != "" {
		fmt.Fprintf(&b, "\n### What went wrong\n\n%s", faults)
	}
	if _, err := w.Write(b.Bytes()); err != nil || page == "" {
		return err
	}
	return between(page, b.Bytes())
}

func faultsOf(all results) string {
	var b strings.Builder
	for _, r := range all.runs {
		if r.Fault != "" {
			fmt.Fprintf(&b, "- %s %s, round %d: %s\n", r.Mode, r.Row, r.Round, strings.Join(strings.Fields(r.Fault), " "))
		}
	}
	return b.String()
}

// The marks in the page.
const (
	beginMark = "<!-- measured: make bench writes from here -->\n"
	endMark   = "<!-- to here -->\n"
)

// between replaces what lies between the marks of a page.
func between(page string, text []byte) error {
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	head, rest, begun := bytes.Cut(old, []byte(beginMark))
	_, tail, ended := bytes.Cut(rest, []byte(endMark))
	if !begun || !ended {
		return fmt.Errorf("cannot write %q: it has no %q and %q", page, beginMark, endMark)
	}
	return os.WriteFile(page, bytes.Join([][]byte{head, []byte(beginMark), text, []byte(endMark), tail}, nil), 0o644)
}
