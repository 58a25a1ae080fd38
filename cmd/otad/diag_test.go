package main_test

import (
	"slices"
	"testing"

	"otad/cmd/internal/cli"
	"otad/ota"
)

// The log of the service is read through its socket.
func TestLogs(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	url, _ := site.serve("2.swu", system{code: 2}.artifact(t))
	site.offerAs(ota.UpgradePrompt, 2, url)
	b := newBox(t, site, quiet)
	s := b.start()
	s.await(inPhase(ota.PhaseIdle))
	b.otad("check").want(cli.Done)
	s.await(inPhase(ota.PhaseOffered))
	b.otad("logs").want(cli.Done).said("level=INFO msg=started version=1 slot=a", "msg=phase", "phase=offered")
	all := decode[[]string](b.otad("logs", "--json").want(cli.Done))
	last := decode[[]string](b.otad("logs", "--limit", "2", "--json").want(cli.Done))
	if len(all) < 3 || !slices.Equal(last, all[len(all)-2:]) {
		t.Errorf("the last two of %q are %q", all, last)
	}
	for _, line := range all {
		s.log.await(t, line+"\n")
	}
}
