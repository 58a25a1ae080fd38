package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What otad has to reach: README says so, and docs/benchmarks.md how it stands.
const (
	wallTarget  = 1.15 // of the floor with a hash, without the read-back
	cpuTarget   = 1.25
	speedTarget = 0.9 // of its own speed, within 32 MiB
	deltaTarget = 2   // wall, of the floor with a hash that installs the whole image
	deltaMemory = 26  // VmHWM, in MiB
)

// networkTargets are what a delta may fetch at most, in MiB: what SWUpdate's
// chunks take from v1 to v2, and 7 % of the image from v1 to v1m.
var networkTargets = map[string]float64{"otad sqfs delta": 40, "otad sqfs delta, five packages": 0.07 * 158.4}

// residentTargets are the highest VmHWM of the service, in MiB.
var residentTargets = map[string]float64{"ext4": 20, "ext4.zst": 26}

// targetsTable holds what was measured against what is wanted.
func targetsTable(all results) string {
	var b strings.Builder
	verdict := func(what string, got, want float64, atMost bool) {
		word := "reached"
		if got > want && atMost || got < want && !atMost {
			word = "**missed**"
		}
		fmt.Fprintf(&b, "| %s | %.2f | %s %g | %s |\n", what, got, map[bool]string{true: "≤", false: "≥"}[atMost], want, word)
	}
	for _, mode := range []string{"local", "stream"} {
		lines := table(all, mode)
		for _, l := range lines {
			if !strings.HasPrefix(l.row.name, "otad ") || len(l.timed) == 0 {
				continue
			}
			name := modeTitles[mode] + ": " + l.row.name
			if !strings.Contains(l.row.name, "service, staged") && l.row.limit == 0 && !l.row.delta {
				verdict(name+": wall without the read-back ÷ floor+sha256", ratio(l.timed, inSlot, l.hashed, durable), wallTarget, true)
				verdict(name+": CPU without the read-back ÷ floor+sha256", ratio(l.timed, inSlotCPU, l.hashed, cpuUsed), cpuTarget, true)
			}
			if l.row.delta && l.row.image == "sqfs" {
				verdict(name+": wall without the read-back ÷ floor+sha256 of the whole image", ratio(l.timed, inSlot, l.hashed, durable), deltaTarget, true)
				if want, ok := networkTargets[l.row.name]; ok {
					verdict(name+": network, MiB", float64(middle(l.timed, func(r result) int64 { return r.Network }))/(1<<20), want, true)
				}
			}
			if l.row.delta && len(l.sampled) > 0 {
				verdict(name+": VmHWM, MiB", highest(l), deltaMemory, true)
				verdict(name+": temporary space, MiB", float64(middle(l.sampled, func(r result) int64 { return r.Memory.Temp }))/1024, 0, true)
			}
			if l.row.daemon != "" && len(l.sampled) > 0 {
				verdict(name+": VmHWM, MiB", highest(l), residentTargets[l.row.floor], true)
			}
			if l.row.limit > 0 {
				free := slices.IndexFunc(lines, func(o line) bool { return o.row.name == l.row.within })
				if free >= 0 {
					verdict(name+": speed ÷ its own", ratio(lines[free].timed, wallTime, byRound(l.timed), wallTime), speedTarget, false)
				}
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "| | measured | wanted | |\n|---|---|---|---|\n" + b.String()
}

// highest is VmHWM, in MiB.
func highest(l line) float64 {
	return float64(middle(l.sampled, func(r result) int64 { return r.Memory.Highest })) / 1024
}

// peersTable holds otad against each other installer, on the same image and in
// the same rounds.
func peersTable(all results) string {
	var b strings.Builder
	for _, mode := range []string{"local", "stream"} {
		lines := table(all, mode)
		for _, peer := range lines {
			ours := slices.IndexFunc(lines, func(o line) bool { return o.row.name == peer.row.rival })
			if peer.row.rival == "" || ours < 0 || len(lines[ours].timed) == 0 || len(peer.timed) == 0 {
				continue
			}
			fmt.Fprintf(&b, "| %s: %s | %.2f | %.2f | %.2f | %.2f |\n", modeTitles[mode], peer.row.name, median(peer.timed, durable).Seconds(),
				ratio(lines[ours].timed, wallTime, byRound(peer.timed), durable),
				ratio(lines[ours].timed, inSlot, byRound(peer.timed), durable),
				ratio(lines[ours].timed, cpuUsed, byRound(peer.timed), cpuUsed))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "| installer | durable s | otad's wall ÷ its | without the read-back | otad's CPU ÷ its |\n|---|---|---|---|---|\n" + b.String()
}

var modeTitles = map[string]string{"local": "From a file", "stream": "From a web server"}

func byRound(runs []result) map[int]result {
	found := map[int]result{}
	for _, r := range runs {
		found[r.Round] = r
	}
	return found
}

// ratio is the median of the ratios to another row, round by round; 0 without
// any.
func ratio(runs []result, of func(result) time.Duration, base map[int]result, ofBase func(result) time.Duration) float64 {
	var ratios []float64
	for _, r := range runs {
		if b, ok := base[r.Round]; ok && b.Fault == "" {
			ratios = append(ratios, float64(of(r))/float64(max(ofBase(b), time.Millisecond)))
		}
	}
	if len(ratios) == 0 {
		return 0
	}
	slices.Sort(ratios)
	return (ratios[(len(ratios)-1)/2] + ratios[len(ratios)/2]) / 2
}
