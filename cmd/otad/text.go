package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// printState is `otad status` for a person.
func printState(w io.Writer, s report.State) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, cli.Printable(fmt.Sprintf(format, args...)))
	}
	row("box", "%s %s", s.Model, s.Device)
	running := fmt.Sprintf("version %s in slot %s", versionText(s.Version), s.Slot)
	if s.Trial {
		running += ", on trial"
	}
	row("runs", "%s", running)
	if s.Update == nil {
		row("update", "none under way")
	} else {
		row("update", "%s to version %s (%s, by %s)", s.Update.ID, versionText(s.Update.To), typeText(s.Update.Type), s.Update.By)
		row("phase", "%s", phaseText(s))
	}
	if s.Reason != "" {
		reason := s.Reason
		if s.GoesOn != nil {
			reason += ", until " + timeText(*s.GoesOn)
		}
		row("waits", "%s", reason)
	}
	if s.Trouble != nil {
		row("trouble", "%s (%s)", s.Trouble.Text, s.Trouble.Code)
	}
	if s.CheckAt != nil {
		row("next check", "%s", timeText(*s.CheckAt))
	}
	if s.Floor != "" {
		row("floor", "%s", s.Floor)
	}
	if s.Configuration != nil {
		row("configuration", "%s", configurationText(*s.Configuration))
	}
	for _, p := range s.Packages {
		row(p.Name, "%s", packageText(p))
	}
	if s.Last != nil {
		row("last update", "version %s: %s, %s", versionText(offerVersion(s.Last.Offer)), resultText(*s.Last), timeText(s.Last.Ended))
	}
	tw.Flush()
}

func offerVersion(o ota.Offer) ota.Version {
	return ota.Version{Code: o.VersionCode, Name: o.VersionName}
}

func phaseText(s report.State) string {
	text := string(s.Phase)
	if s.Stage != "" {
		text += ", " + s.Stage
	}
	if s.Transfer != nil {
		text += fmt.Sprintf(", %d%%", s.Percent)
		if s.Transfer.TotalBytes > 0 {
			text += fmt.Sprintf(" (%s of %s)", cli.SizeText(s.Transfer.DoneBytes), cli.SizeText(s.Transfer.TotalBytes))
		}
		if s.Delta != nil {
			text += fmt.Sprintf(", %s to fetch", cli.SizeText(s.Delta.FetchBytes))
		}
		if s.Transfer.BytesPerSecond > 0 {
			text += fmt.Sprintf(", %s/s", cli.SizeText(s.Transfer.BytesPerSecond))
		}
		if s.Transfer.ETASeconds > 0 {
			text += fmt.Sprintf(", %s left", time.Duration(s.Transfer.ETASeconds)*time.Second)
		}
	}
	return text
}

func printOutcome(w io.Writer, o ota.Outcome) {
	what := "version"
	switch o.Kind {
	case ota.KindFirmware:
	case ota.KindPackage:
		what = o.Name
	default:
		what = o.Kind
	}
	fmt.Fprintf(w, "%s  %s  %s %s -> %s  %s\n", timeText(o.Ended), o.ID, cli.Printable(what), versionText(o.From),
		cli.Printable(versionText(offerVersion(o.Offer))), cli.Printable(resultText(o)))
}

// printDeed is a line of the audit.
func printDeed(w io.Writer, d ota.Deed) {
	if d.Missed > 0 { // older than d: the newest is printed first
		defer fmt.Fprintf(w, "%d more were not kept: too many came in a short time\n", d.Missed)
	}
	by := d.By
	if d.Who != "" {
		by += " " + d.Who
	}
	verdict := "done"
	if !d.OK {
		verdict = string(d.Code)
	}
	fmt.Fprintf(w, "%s  %s\n", timeText(d.Time), cli.Printable(strings.Join(strings.Fields(by+"  "+d.Verb+" "+d.Args+"  "+verdict), " ")))
}

func printLines(w io.Writer, lines []string) {
	for _, line := range lines {
		fmt.Fprintln(w, cli.Printable(line))
	}
}

func resultText(o ota.Outcome) string {
	if o.Failure == nil {
		return string(o.Result)
	}
	return fmt.Sprintf("%s, %s (%s)", o.Result, o.Failure.Text, o.Failure.Code)
}

func versionText(v ota.Version) string {
	switch {
	case v.Code == 0 && v.Name != "":
		return v.Name
	case v.Name == "":
		return strconv.FormatInt(v.Code, 10)
	}
	return fmt.Sprintf("%d (%s)", v.Code, v.Name)
}

func typeText(t ota.UpgradeType) string {
	switch t {
	case ota.UpgradeSilent:
		return "silent"
	case ota.UpgradeForced:
		return "forced"
	}
	return "prompt"
}

func timeText(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
