package agent

import (
	"encoding/json"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"

	"otad/agent/control"
	"otad/ota"
	"otad/ota/journal"
)

// Bounds of what the audit costs the flash, however much is asked: so many
// deeds at once, and one more each time after that. Verbs that were refused
// have a purse of their own, so that a flood of them hides nothing that was done.
const (
	doneBurst, doneRefill       = 32, time.Minute
	refusedBurst, refusedRefill = 8, 10 * time.Minute
	maxDeedText                 = 200 // bytes of each text of a deed
)

// auditor paces what is written into the audit. Safe for concurrent use.
type auditor struct {
	mu            sync.Mutex
	done, refused purse
	missed        int // deeds that were not kept since the last that was
}

// purse is a token bucket.
type purse struct {
	spent  int
	filled time.Time
}

func (p *purse) pay(burst int, refill time.Duration) bool {
	if more := int(time.Since(p.filled) / refill); more > 0 {
		p.spent, p.filled = max(0, p.spent-more), time.Now()
	}
	if p.spent == burst {
		return false
	}
	p.spent++
	return true
}

// afford tells whether a deed may be kept now, and how many before it were not.
func (a *auditor) afford(ok bool) (missed int, may bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ok {
		may = a.done.pay(doneBurst, doneRefill)
	} else {
		may = a.refused.pay(refusedBurst, refusedRefill)
	}
	if !may {
		a.missed++
		return 0, false
	}
	missed, a.missed = a.missed, 0
	return missed, true
}

// Audit implements control.Auditor. A verb that only looks costs no write: it
// is a line of the log at the level debug.
func (a *Agent) Audit(r control.Request, verdict error) {
	d := ota.Deed{Time: a.Clock.Now(), By: clean(r.By), Who: clean(r.Who), Verb: clean(r.Verb), Args: argsText(r.Args), OK: verdict == nil}
	if verdict != nil {
		d.Code = ota.FaultOf(verdict).Code
	}
	if control.Looks(r.Verb) {
		a.Log.Debug("asked", "by", d.By, "who", d.Who, "verb", d.Verb, "args", d.Args, "code", d.Code)
		return
	}
	var may bool
	if d.Missed, may = a.audit.afford(d.OK); !may {
		return
	}
	if err := a.Journal.Commit(journal.Change{Deed: &d}); err != nil {
		a.Log.Error("cannot keep the audit", "by", d.By, "verb", d.Verb, "cause", err)
	}
}

// argsText is the arguments as JSON, "" for none. Servers put secrets into the
// user and the query of a URL.
func argsText(args control.Args) string {
	if u, err := url.Parse(args.Source); err == nil && u.Scheme != "" {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		args.Source = u.String()
	} else if strings.Contains(args.Source, "://") {
		args.Source = "(no URL)"
	}
	data, err := json.Marshal(args)
	if err != nil || args == (control.Args{}) {
		return ""
	}
	return clean(string(data))
}

// clean takes what could steer a terminal out of a stranger's text, and what
// is too long.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if len(text) > maxDeedText {
		text = strings.ToValidUTF8(text[:maxDeedText], "") + "..."
	}
	return text
}
