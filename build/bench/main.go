// Command bench measures otad beside other installers, on the same images, the
// same slots and the same server, in the same run, and writes the tables of
// docs/benchmarks.md.
//
// Model: a [row] is one installer doing one job: a shell command that brings the
// release v2 from a file or from the web server into slot B, a loop device. In
// each round every row is run once, in an order of its own, and the slot is read
// and compared afterwards, so that whoever did nothing is not fast. Ratios are
// taken within a round; what is reported is their median.
//
// The floor of a row is the least that anybody could do with ordinary tools: read,
// unpack, write, fsync (floor), and the same with a SHA-256 on the way
// (floor+sha256), which is what an installer has to do.
//
// It needs root: it makes loop devices, and a mount namespace of its own, with
// an /etc and a /proc/cmdline for the box that is played. Nothing of that is left.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

type options struct {
	dir, otad, otactl string
	rounds, memory    int
	only              *regexp.Regexp
	out, docs         string
	report            bool
}

func main() {
	o := options{}
	flag.StringVar(&o.dir, "dir", "bin/bench", "where firmware and artifacts are, and everything else is made")
	flag.StringVar(&o.otad, "otad", "bin/otad", "the otad to measure")
	flag.StringVar(&o.otactl, "otactl", "bin/otactl", "what packs its artifacts")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of time")
	flag.IntVar(&o.memory, "memory", 1, "rounds of memory: sampling disturbs the time")
	only := flag.String("only", "", "a regular expression: the rows to run, as MODE NAME; floors of those that match run, too")
	flag.StringVar(&o.out, "out", "", "a file for the results, a line each (DIR/results.jsonl)")
	flag.StringVar(&o.docs, "docs", "", "a page whose generated part is written anew")
	flag.BoolVar(&o.report, "report", false, "only write the tables of earlier results")
	flag.Parse()
	o.only = regexp.MustCompile(*only)
	if err := bench(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(o options) error {
	if o.out == "" {
		o.out = o.dir + "/results.jsonl"
	}
	if !o.report {
		inside, err := enter()
		if err != nil || !inside {
			return err
		}
		if err := measure(o); err != nil {
			return err
		}
	}
	all, err := readResults(o.out)
	if err != nil {
		return err
	}
	return report(os.Stdout, o.docs, o.dir+"/benchstat.txt", all)
}

// measure runs all rounds.
func measure(o options) error {
	p, err := newPlace(o)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.open(); err != nil {
		return err
	}
	out, err := os.Create(o.out)
	if err != nil {
		return err
	}
	defer out.Close()
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, os.Interrupt, syscall.SIGTERM)
	chosen := choose(allRows(), o.only)
	lines := json.NewEncoder(out)
	if err := lines.Encode(machine()); err != nil {
		return err
	}
	if o.rounds == 0 {
		o.memory = 0
	}
	for round := range o.rounds + o.memory {
		order := slices.Clone(chosen)
		rand.New(rand.NewPCG(uint64(round), 0)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, r := range order {
			sampled := round >= o.rounds
			if !sampled && r.rounds > 0 && round >= r.rounds {
				continue
			}
			select {
			case <-stopped:
				return errors.New("interrupted")
			default:
			}
			result, err := p.do(r, sampled)
			if err != nil {
				return fmt.Errorf("%s %s: %w", r.mode, r.name, err)
			}
			result.Round = round
			fmt.Fprintln(os.Stderr, result)
			if err := lines.Encode(result); err != nil {
				return err
			}
		}
	}
	return nil
}

// choose returns the rows that match, and the floors they are compared with.
func choose(rows []row, only *regexp.Regexp) []row {
	wanted := map[string]bool{}
	for _, r := range rows {
		if only.MatchString(r.mode + " " + r.name) {
			wanted[r.mode+" "+r.name] = true
			wanted[r.mode+" "+floorName(r.floor)] = true
			wanted[r.mode+" "+hashedFloorName(r.floor)] = true
		}
	}
	return slices.DeleteFunc(rows, func(r row) bool { return !wanted[r.mode+" "+r.name] })
}

// readResults reads what measure wrote: the facts of the machine, then a result
// a line.
func readResults(path string) (results, error) {
	var all results
	f, err := os.Open(path)
	if err != nil {
		return all, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	if !lines.Scan() {
		return all, fmt.Errorf("cannot read %q: it is empty", path)
	}
	if err := json.Unmarshal(lines.Bytes(), &all.facts); err != nil {
		return all, fmt.Errorf("cannot read %q: %w", path, err)
	}
	for lines.Scan() {
		var r result
		if err := json.NewDecoder(strings.NewReader(lines.Text())).Decode(&r); err != nil {
			return all, fmt.Errorf("cannot read %q: %w", path, err)
		}
		all.runs = append(all.runs, r)
	}
	return all, lines.Err()
}
