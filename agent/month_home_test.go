package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/agent/control"
	"otad/agent/report"
	"otad/board"
	"otad/ota"
	"otad/ota/policy"
)

// The home of TestMonth: who lives there, what the server has and when, and the
// diary of it all.

// berlin is where the box stands.
func berlin(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	must(t, err)
	return zone
}

// span is from, up to but not including to.
type span struct{ from, to time.Time }

func (s span) holds(t time.Time) bool { return !t.Before(s.from) && t.Before(s.to) }

// entry is one happening. Kinds: check, fetch, ask, answer, notice, wait,
// restart, start, end.
type entry struct {
	at   time.Time
	kind string
	text string
	code int64  // the version that it is about
	use  string // why the box was in use
	rest bool   // in standby, or in a window
}

// household is a box among people. It is the board's powers, the server and the
// viewer in one: they share the calendar.
type household struct {
	t          *testing.T
	zone       *time.Location
	box        *fakeServer // the host of the files
	offers     []offered   // in the order of time
	offline    span
	recordings []span
	decide     map[int64][]board.Answer // what is said to each question about a version

	mu    sync.Mutex
	diary []entry
	last  string // state that was written down
}

// offered is an offer and when the operator publishes it.
type offered struct {
	at    time.Time
	offer ota.Offer
}

func (h *household) now() time.Time { return time.Now().In(h.zone) }

// usage follows the week: on working days somebody watches from 18:00 to 22:30, at
// the weekend from 10:00 to 23:00. After that the box is put into standby until
// seven, but from thursday to sunday it is left on.
func (h *household) usage() board.Usage {
	now := h.now()
	var use board.Usage
	for _, r := range h.recordings {
		if r.holds(now) {
			use.Busy = "recording"
		}
		if in := r.from.Sub(now); in > 0 && (use.TimerIn == 0 || in < use.TimerIn) {
			use.TimerIn = in
		}
	}
	minute, day := now.Hour()*60+now.Minute(), now.Weekday()
	first, last := 18*60, 22*60+30
	if day == time.Saturday || day == time.Sunday {
		first, last = 10*60, 23*60
	}
	if use.Busy == "" && minute >= first && minute < last {
		use.Busy = "watching"
	}
	night := day // of the evening before
	if minute < 7*60 {
		night = (day + 6) % 7
	}
	left := night == time.Thursday || night == time.Friday || night == time.Saturday || night == time.Sunday
	use.Standby = use.Busy == "" && !left && (minute >= last || minute < 7*60)
	return use
}

// write puts a happening into the diary.
func (h *household) write(kind string, code int64, format string, args ...any) {
	use := h.usage()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.diary = append(h.diary, entry{at: h.now(), kind: kind, text: fmt.Sprintf(format, args...), code: code, use: use.Busy, rest: use.Standby || inWindows(h.now())})
}

// inWindows is the setting of the test, said in another way than the agent's.
func inWindows(t time.Time) bool {
	return t.Weekday() != time.Saturday && t.Weekday() != time.Sunday && t.Hour() >= 2 && t.Hour() < 5
}

var errOffline = errors.New("no route to host")

// Offer implements Server.
func (h *household) Offer(_ context.Context, running ota.Version, _ int64) (ota.Offer, error) {
	now := h.now()
	if h.offline.holds(now) {
		h.write("check", 0, "no network")
		return ota.Offer{}, ota.NewTransient(ota.CodeDownloadNetwork, errOffline)
	}
	var newest ota.Offer
	for _, o := range h.offers {
		if !o.at.After(now) && o.offer.VersionCode > running.Code {
			newest = o.offer
		}
	}
	if newest.VersionCode == 0 {
		h.write("check", 0, "nothing new")
		return newest, ota.NewRefused(ota.CodeNothing, errors.New("nothing for this box"))
	}
	h.write("check", newest.VersionCode, "version %d is offered, %s", newest.VersionCode,
		map[ota.UpgradeType]string{ota.UpgradePrompt: "prompt", ota.UpgradeSilent: "silent", ota.UpgradeForced: "forced"}[newest.Type])
	return newest, nil
}

func (h *household) Offset() (time.Duration, bool)   { return 0, true }
func (h *household) FreeBytes(string) (int64, error) { return 1 << 40, nil }

// Fetch implements Fetcher.
func (h *household) Fetch(ctx context.Context, f Fetch) error {
	var code int64
	_, _ = fmt.Sscanf(f.URL, "http://host/%d.swu", &code)
	if h.offline.holds(h.now()) {
		return ota.NewTransient(ota.CodeDownloadNetwork, errOffline)
	}
	begun := h.now()
	if !sleep(ctx, 12*time.Minute) {
		return ctx.Err()
	}
	h.write("fetch", code, "version %d came in, in %v", code, h.now().Sub(begun))
	return h.box.Fetch(ctx, f)
}

// homeBoard is the simulated board in that home.
type homeBoard struct {
	board.Board
	home *household
	code int64 // the version that runs
}

func (b homeBoard) Usage(context.Context) (board.Usage, error) { return b.home.usage(), nil }

func (b homeBoard) Reboot(ctx context.Context, reason string) error {
	b.home.write("restart", b.code, "restart")
	return b.Board.Reboot(ctx, reason)
}

// Prompt implements board.Prompter: who sits before the screen answers after two
// minutes, and nobody reads a notice.
func (b homeBoard) Prompt(ctx context.Context, q board.Question) (board.Answer, error) {
	var code int64
	_, _ = fmt.Sscanf(q.Version, "v%d", &code)
	if q.Notice {
		b.home.write("notice", code, "notice on the screen: restart in %v", q.Within.Round(time.Second))
		<-ctx.Done()
		return board.Answer{}, nil
	}
	b.home.write("ask", code, "question on the screen: version %d?", code)
	for range int(q.Within / time.Minute) {
		if !sleep(ctx, time.Minute) {
			return board.Answer{}, nil
		}
		if b.home.usage().Busy == "watching" {
			return b.home.answer(code), nil
		}
	}
	<-ctx.Done()
	return board.Answer{}, nil
}

// answer is what the viewer says now to the question about a version.
func (h *household) answer(code int64) board.Answer {
	h.mu.Lock()
	said := h.decide[code]
	if len(said) == 0 {
		h.mu.Unlock()
		h.write("answer", code, "the viewer is asked about version %d once more than expected", code)
		return board.Answer{Choice: board.ChoiceDecline}
	}
	h.decide[code] = said[1:]
	h.mu.Unlock()
	text := said[0].Choice
	if said[0].For > 0 {
		text += " for " + said[0].For.String()
	}
	h.write("answer", code, "the viewer says: %s", text)
	return said[0]
}

// viewer looks into the menu each evening at eight, and answers there a question
// that nobody saw.
func (h *household) viewer(ctx context.Context, a *Agent) {
	for {
		now := h.now()
		evening := time.Date(now.Year(), now.Month(), now.Day(), 20, 0, 0, 0, h.zone)
		if !now.Before(evening) {
			evening = evening.AddDate(0, 0, 1)
		}
		if !sleep(ctx, evening.Sub(now)) {
			return
		}
		s := a.State()
		if s.Why != string(policy.WhyConsent) || s.Update == nil {
			continue
		}
		said := h.answer(s.Update.To.Code)
		r := control.Request{V: control.Version, By: "screen", Verb: control.Consent, Args: control.Args{Answer: said.Choice}}
		if said.Choice == board.ChoiceDefer {
			r.Verb, r.Args = control.Defer, control.Args{For: said.For.String()}
		}
		if reply := control.Answer(ctx, a, r); !reply.OK {
			h.write("answer", 0, "refused: %s", reply.Text)
		}
	}
}

// look writes down why an update waits, and how it ended.
func (h *household) look(s report.State) {
	if s.Update == nil || s.Why == "" {
		return
	}
	line := fmt.Sprintf("version %d waits: %s", s.Update.To.Code, s.Reason)
	if s.GoesOn != nil && s.Why != string(policy.WhyTimer) {
		line += ", until " + s.GoesOn.In(h.zone).Format("Mon 15:04")
	}
	if line != h.last {
		h.last = line
		h.write("wait", s.Update.To.Code, "%s", line)
	}
}

// print tells the diary, checks that brought nothing in one line.
func (h *household) print() {
	const layout = "Mon 02 15:04"
	var b strings.Builder
	for i := 0; i < len(h.diary); {
		e, n := h.diary[i], 1
		for e.kind == "check" && i+n < len(h.diary) && h.diary[i+n].kind == "check" && h.diary[i+n].text == e.text {
			n++
		}
		times := ""
		if n > 1 {
			times = fmt.Sprintf(", %d times until %s", n, h.diary[i+n-1].at.Format(layout))
		}
		use := ""
		if e.use != "" {
			use = " (" + e.use + ")"
		}
		fmt.Fprintf(&b, "%s  %-8s%s%s%s\n", e.at.Format(layout), e.kind, e.text, times, use)
		i += n
	}
	h.t.Logf("diary\n%s", b.String())
}

// of lists the happenings of a kind about a version, of all for 0.
func (h *household) of(kind string, code int64) []entry {
	return slices.DeleteFunc(slices.Clone(h.diary), func(e entry) bool {
		return e.kind != kind || code != 0 && e.code != code
	})
}
