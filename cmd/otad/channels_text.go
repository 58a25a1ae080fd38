package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"otad/agent/control"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// configStatus says how the configuration channel stands.
func configStatus(ctx context.Context, env cli.Env, configPath string, asJSON bool) error {
	c, err := query[report.Configuration](ctx, env, configPath, control.Request{Verb: control.Config})
	if err != nil {
		return err
	}
	return answer(env, asJSON, c, func(w io.Writer) { printConfiguration(w, c) })
}

func printConfiguration(w io.Writer, c report.Configuration) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, cli.Printable(fmt.Sprintf(format, args...)))
	}
	runs := "none from the server"
	if c.Version.Code != 0 {
		runs = "version " + versionText(c.Version)
	}
	if c.Applied != nil {
		runs += ", since " + timeText(*c.Applied)
	}
	row("configuration", "%s", runs)
	if c.To != nil {
		row("applying", "version %s", versionText(*c.To))
	}
	if c.Bad != nil {
		row("failed", "version %s: %s", versionText(*c.Bad), failureText(c.Failure))
	}
	if c.Trouble != nil {
		row("trouble", "%s", failureText(c.Trouble))
	}
	tw.Flush()
}

// configurationText is the same on one line.
func configurationText(c report.Configuration) string {
	text := "none from the server"
	if c.Version.Code != 0 {
		text = "version " + versionText(c.Version)
	}
	if c.To != nil {
		text += "; applying version " + versionText(*c.To)
	}
	return text + failedText(c.Bad, c.Failure, c.Trouble)
}

func packageText(p report.Package) string {
	text := "not installed"
	if p.Version.Code != 0 {
		text = "version " + versionText(p.Version)
	}
	if p.To != nil {
		text += fmt.Sprintf("; version %s %s", versionText(*p.To), p.Phase)
		if p.Percent > 0 {
			text += fmt.Sprintf(" %d%%", p.Percent)
		}
	}
	if p.Reason != "" {
		text += ", waits: " + p.Reason
	}
	return text + failedText(p.Bad, p.Failure, p.Trouble)
}

func failedText(bad *ota.Version, failure, trouble *ota.Failure) (text string) {
	if bad != nil {
		text += fmt.Sprintf("; version %s failed: %s", versionText(*bad), failureText(failure))
	}
	if trouble != nil {
		text += "; trouble: " + failureText(trouble)
	}
	return text
}

func failureText(f *ota.Failure) string {
	if f == nil {
		return "for a reason that is not known"
	}
	return fmt.Sprintf("%s (%s)", f.Text, f.Code)
}
