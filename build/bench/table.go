package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// line is a row of the tables: what was measured of a row, and of its floors in
// the same rounds.
type line struct {
	row     row
	timed   []result // whose time counts
	sampled []result // whose memory counts
	floor   map[int]result
	hashed  map[int]result // the floor with a hash
}

// table has a line for each row of a mode that was run, in the order of
// [allRows].
func table(all results, mode string) []line {
	timedRuns := func(name string) map[int]result {
		runs := map[int]result{}
		for _, r := range all.runs {
			if r.Mode == mode && r.Row == name && !r.Sampled {
				runs[r.Round] = r
			}
		}
		return runs
	}
	var lines []line
	for _, r := range allRows() {
		if r.mode != mode {
			continue
		}
		l := line{row: r, floor: timedRuns(floorName(r.floor)), hashed: timedRuns(hashedFloorName(r.floor))}
		for _, run := range all.runs {
			switch {
			case run.Mode != mode || run.Row != r.name || run.Fault != "":
			case run.Sampled:
				l.sampled = append(l.sampled, run)
			default:
				l.timed = append(l.timed, run)
			}
		}
		if len(l.timed)+len(l.sampled) > 0 {
			lines = append(lines, l)
		}
	}
	return lines
}

// durable is the time until the medium has it: an installer that never flushes
// is charged a sync.
func durable(r result) time.Duration { return r.Wall + r.Sync }

func wallTime(r result) time.Duration { return r.Wall }
func cpuUsed(r result) time.Duration  { return r.CPU }

// inSlot is the time until the slot has it, without reading it back: what others
// do, too.
func inSlot(r result) time.Duration    { return r.Wall - r.Stages[readBack].Wall }
func inSlotCPU(r result) time.Duration { return r.CPU - r.Stages[readBack].CPU }

const readBack = "read-back"

func (l line) time() string {
	name := l.row.name
	if l.readsBack() {
		name += ", without the read-back"
	}
	text := l.timeOf(name, inSlot, inSlotCPU)
	if l.readsBack() {
		text = l.timeOf(l.row.name, wallTime, cpuUsed) + "\n" + text
	}
	return text
}

func (l line) readsBack() bool {
	return slices.ContainsFunc(l.timed, func(r result) bool { return r.Stages[readBack].Wall > 0 })
}

func (l line) timeOf(name string, wall, cpu func(result) time.Duration) string {
	if len(l.timed) == 0 {
		return fmt.Sprintf("| %s | - | - | - | - | - | - |", name)
	}
	synced := func(r result) time.Duration { return wall(r) + r.Sync }
	lowest := slices.MinFunc(l.timed, func(a, b result) int { return int(wall(a) - wall(b)) })
	highest := slices.MaxFunc(l.timed, func(a, b result) int { return int(wall(a) - wall(b)) })
	return fmt.Sprintf("| %s | %.2f (%.2f–%.2f) | %.2f | %s | %s | %.2f | %s |", name,
		median(l.timed, wall).Seconds(), wall(lowest).Seconds(), wall(highest).Seconds(), median(l.timed, synced).Seconds(),
		times(ratio(l.timed, synced, l.floor, durable)), times(ratio(l.timed, synced, l.hashed, durable)),
		median(l.timed, cpu).Seconds(), times(ratio(l.timed, cpu, l.hashed, cpuUsed)))
}

func (l line) space() string {
	all := slices.Concat(l.timed, l.sampled)
	mebibytes := func(runs []result, of func(result) int64, format string) string {
		if len(runs) == 0 {
			return "-"
		}
		return fmt.Sprintf(format, float64(middle(runs, of))/(1<<20))
	}
	atRest := "-"
	if l.row.daemon != "" {
		atRest = mebibytes(l.sampled, func(r result) int64 { return r.Memory.Idle << 10 }, "%.1f")
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %d | %s |", l.row.name, atRest,
		mebibytes(l.sampled, func(r result) int64 { return r.Memory.Anon << 10 }, "%.1f"),
		mebibytes(l.sampled, func(r result) int64 { return r.Memory.Pss << 10 }, "%.1f"),
		mebibytes(l.sampled, func(r result) int64 { return r.Memory.Highest << 10 }, "%.1f"),
		mebibytes(l.sampled, func(r result) int64 { return r.Charged }, "%.0f"),
		mebibytes(l.sampled, func(r result) int64 { return r.Memory.Temp << 10 }, "%.1f"),
		mebibytes(all, func(r result) int64 { return r.Written }, "%.0f"),
		mebibytes(all, func(r result) int64 { return r.Read }, "%.0f"),
		middle(all, func(r result) int64 { return r.Flushes }),
		mebibytes(all, func(r result) int64 { return r.Network }, "%.1f"))
}

// stagesTable has what otad's log says of its stages.
func stagesTable(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		if !l.readsBack() {
			continue
		}
		fmt.Fprintf(&b, "| %s |", l.row.name)
		for _, name := range []string{"verify", "write", readBack} {
			fmt.Fprintf(&b, " %.2f | %.2f |", median(l.timed, func(r result) time.Duration { return r.Stages[name].Wall }).Seconds(),
				median(l.timed, func(r result) time.Duration { return r.Stages[name].CPU }).Seconds())
		}
		b.WriteByte('\n')
	}
	if b.Len() == 0 {
		return ""
	}
	return "| | verify s | CPU | write s | CPU | read-back s | CPU |\n|---|---|---|---|---|---|---|\n" + b.String()
}

// times writes a ratio.
func times(ratio float64) string {
	if ratio == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", ratio)
}

func median(runs []result, of func(result) time.Duration) time.Duration {
	return time.Duration(middle(runs, func(r result) int64 { return int64(of(r)) }))
}

// middle is the median; of an even number it is the mean of both in the middle.
func middle(runs []result, of func(result) int64) int64 {
	if len(runs) == 0 {
		return 0
	}
	var values []int64
	for _, r := range runs {
		values = append(values, of(r))
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
