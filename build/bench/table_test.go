package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// measured is a small measurement: three rounds, of which the last sampled
// memory, with a machine that is twice as slow in the second.
func measured() results {
	run := func(round int, name string, wall, cpu, sync, readBack float64) result {
		seconds := func(s float64) time.Duration { return time.Duration(s * float64(1+round) * float64(time.Second)) }
		r := result{Row: name, Mode: "local", Round: round, Sampled: round == 2, Wall: seconds(wall), CPU: seconds(cpu), Sync: seconds(sync),
			Written: 512 << 20, Charged: 32 << 20, Memory: memory{Anon: 8 << 10, Highest: 18 << 10}, Stages: map[string]stage{}}
		if readBack > 0 {
			r.Stages["write"] = stage{Wall: seconds(wall - readBack), CPU: seconds(cpu / 2)}
			r.Stages["read-back"] = stage{Wall: seconds(readBack), CPU: seconds(cpu / 2)}
		}
		return r
	}
	all := results{facts: facts{Date: "today", Processor: "a processor", Cores: 2, Kernel: "6.1", Versions: []string{"otad 1"}}}
	for round := range 3 {
		all.runs = append(all.runs,
			run(round, "floor ext4", 1, 1, 0, 0),
			run(round, "floor+sha256 ext4", 2, 2, 0, 0),
			run(round, "SWUpdate ext4", 1, 3, 3, 0),
			run(round, "otad ext4", 3, 2, 0, 1))
	}
	all.runs = append(all.runs, result{Row: "Mender ext4", Mode: "local", Fault: "ended with 1"})
	return all
}

// What is in the tables is what was measured: ratios within a round, the sync
// that is owed, the read-back apart, faults not among the times.
func TestReport(t *testing.T) {
	t.Parallel()
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("head\n"+beginMark+"old\n"+endMark+"tail\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if err := report(&said, page, "", measured()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Measured today on 2 cores of a processor, Linux 6.1: otad 1.",
		"| floor ext4 | 1.50 (1.00–2.00) | 1.50 | 1.00 | 0.50 | 1.50 | 0.50 |",
		"| SWUpdate ext4 | 1.50 (1.00–2.00) | 6.00 | 4.00 | 2.00 | 4.50 | 1.50 |",
		"| otad ext4 | 4.50 (3.00–6.00) | 4.50 | 3.00 | 1.50 | 3.00 | 1.00 |",
		"| otad ext4, without the read-back | 3.00 (2.00–4.00) | 3.00 | 2.00 | 1.00 | 1.50 | 0.50 |",
		"| otad ext4 | - | 8.0 | 0.0 | 18.0 | 32 | 0.0 | 512 | 0 | 0 | 0.0 |",
		"| otad ext4 | 0.00 | 0.00 | 3.00 | 1.50 | 1.50 | 1.50 |",
		"| From a file: otad ext4: wall without the read-back ÷ floor+sha256 | 1.00 | ≤ 1.15 | reached |",
		"| From a file: SWUpdate ext4 | 6.00 | 0.75 | 0.50 | 0.67 |",
		"- local Mender ext4, round 0: ended with 1",
	} {
		if !strings.Contains(said.String(), want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(said.String(), "| Mender ext4") {
		t.Error("what failed is among the times")
	}
	if t.Failed() {
		t.Logf("the report:\n%s", said.String())
	}
	got, err := os.ReadFile(page)
	if want := "head\n" + beginMark + said.String() + endMark + "tail\n"; err != nil || string(got) != want {
		t.Errorf("the page is %q (%v)", got, err)
	}
}

// Every row can be compared and reported: its name is its own, its floor and its
// rival are rows.
func TestRows(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, r := range allRows() {
		if name := r.mode + " " + r.name; names[name] {
			t.Errorf("two rows are called %q", name)
		} else {
			names[name] = true
		}
	}
	for _, r := range allRows() {
		for _, other := range []string{floorName(r.floor), hashedFloorName(r.floor), r.rival, r.within} {
			if other != "" && !names[r.mode+" "+other] {
				t.Errorf("%s %s is compared with %q, which is no row", r.mode, r.name, other)
			}
		}
	}
}

func TestStages(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	log := `time=2026-11-23T01:00:00.000Z level=INFO msg=phase update=x phase=installing
time=2026-11-23T01:00:01.000Z level=INFO msg="stage ended" stage=write bytes=536870912 took=1.5s processor=750ms
time=2026-11-23T01:00:02.000Z level=INFO msg="stage ended" stage=read-back bytes=536870912 took=400ms processor=390ms
`
	if err := os.WriteFile(path, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	got := stagesOf(path)
	if len(got) != 2 || got["write"] != (stage{1500 * time.Millisecond, 750 * time.Millisecond}) || got["read-back"].CPU != 390*time.Millisecond {
		t.Errorf("got %v", got)
	}
}
