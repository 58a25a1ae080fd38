package agent

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"otad/agent/control"
	"otad/ota"
)

func deeds(t *testing.T, a *Agent) []ota.Deed {
	t.Helper()
	data, err := a.do(t.Context(), control.Request{Verb: control.History, Args: control.Args{Audit: true, Limit: 1000}})
	must(t, err)
	return data.([]ota.Deed)
}

// What changes something is remembered with who, what and the verdict, and
// nothing that could be a secret; what looks costs no write.
func TestAudit(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	a := b.running()
	<-a.ready
	ask := func(r control.Request) { _, _ = a.Do(t.Context(), r) } // refusals are what is tested
	ask(control.Request{Verb: control.Status, By: "cli"})
	ask(control.Request{Verb: control.Logs, By: "mqtt:1"})
	ask(control.Request{Verb: control.Cancel, By: "console", Who: "person (PIN)\x1b[31m"})
	ask(control.Request{Verb: control.Install, By: "cli", Args: control.Args{Source: "ftp://user:hunter2@host/fw.swu?token=hunter2#hunter2"}})
	ask(control.Request{Verb: control.Install, By: "cli", Args: control.Args{Source: "ht tp://user:hunter2@host/%zz?hunter2"}})
	a.Audit(control.Request{Verb: "login", By: "console", Who: "person (PIN)"}, nil)
	got := deeds(t, a)
	var text []string
	for _, d := range got {
		text = append(text, fmt.Sprintf("%s|%s|%s|%s|%v|%s", d.By, d.Who, d.Verb, d.Args, d.OK, d.Code))
	}
	want := []string{
		"console|person (PIN)|login||true|",
		`cli||install|{"source":"(no URL)"}|false|usage`,
		`cli||install|{"source":"ftp://host/fw.swu"}|false|usage`,
		"console|person (PIN)[31m|cancel||false|nothing",
	}
	if strings.Join(text, "\n") != strings.Join(want, "\n") {
		t.Errorf("audit:\n%s\nwant:\n%s", strings.Join(text, "\n"), strings.Join(want, "\n"))
	}
	ask(control.Request{Verb: control.Install, By: "cli", Args: control.Args{Source: "/" + strings.Repeat("x", 4000)}})
	if d := deeds(t, a)[0]; len(d.Args) > maxDeedText+3 {
		t.Errorf("a deed has %d bytes of arguments", len(d.Args))
	}
}

// A flood costs the flash a bounded number of writes, is counted, and hides
// nothing that was done.
func TestAuditIsPaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var a auditor
		kept := map[bool]int{}
		spend := func(ok bool, n int) (missed int) {
			for range n {
				if m, may := a.afford(ok); may {
					kept[ok]++
					missed += m
				}
			}
			return missed
		}
		spend(false, 10_000)
		spend(true, 5)
		if kept[false] != refusedBurst || kept[true] != 5 {
			t.Errorf("kept %v", kept)
		}
		time.Sleep(time.Hour)
		if missed := spend(false, 100); missed != 0 || kept[false] != refusedBurst+6 {
			t.Errorf("an hour later kept %v, missed %d", kept, missed)
		}
		if missed := spend(true, 1); missed != 94 {
			t.Errorf("%d are said to be missed, want 94", missed)
		}
	})
}

// An audit that cannot be written stops nobody.
func TestAuditWithoutJournal(t *testing.T) {
	t.Parallel()
	b := newTestBox(t)
	a := b.boot()
	must(t, journalOf(a).Close())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Do(ctx, control.Request{Verb: control.Cancel, By: "cli"}); err == nil {
		t.Error("no error")
	}
	a.Audit(control.Request{Verb: control.Cancel, By: "cli"}, nil)
}
