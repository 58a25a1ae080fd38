package policy

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// rules are those of all rows: a window each night, half an hour of spread of
// which the box "box" has its share.
func tableRules(t *testing.T, list string) Rules {
	t.Helper()
	r := Rules{Countdown: 10 * time.Minute, TimerAhead: 30 * time.Minute, Deadline: 72 * time.Hour, Silence: Ask, DeferCount: 3, DeferTotal: 72 * time.Hour}
	for _, s := range strings.Split(list, "; ") {
		if s == "" {
			continue
		}
		w, err := ParseWindow(s)
		if err != nil {
			t.Fatal(err)
		}
		r.Windows = append(r.Windows, w)
	}
	return r
}

// row reads one line of the table into a question and its facts.
func row(t *testing.T, cells []string) (Question, Facts) {
	t.Helper()
	zone, now, windows, who, facts := cells[0], cells[1], cells[2], cells[3], cells[4]
	full := map[string]string{"B": "Europe/Berlin", "N": "America/New_York", "L": "Australia/Lord_Howe", "K": "Asia/Kolkata", "U": "UTC"}[zone]
	again := strings.HasSuffix(now, "*") // the second time that this hour comes
	f := Facts{Now: at(t, full, strings.TrimSuffix(now, "*")), Device: "box", Rules: tableRules(t, windows)}
	if first := f.Now.Add(-time.Hour); first.Format(time.TimeOnly) == f.Now.Format(time.TimeOnly) {
		f.Now = first // of two; ParseInLocation may give either
	}
	if again {
		f.Now = f.Now.Add(time.Hour)
	}
	kind, question, _ := strings.Cut(who, " ")
	f.Type = map[string]Upgrade{"prompt": Prompt, "silent": Silent, "forced": Forced, "zero": 0}[kind]
	for _, word := range strings.Fields(facts) {
		name, value, _ := strings.Cut(word, "=")
		span := func() time.Duration {
			d, err := time.ParseDuration(value)
			if err != nil {
				t.Fatalf("%q: %v", word, err)
			}
			return d
		}
		number := func() int64 {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatalf("%q: %v", word, err)
			}
			return n << 20
		}
		switch name {
		case "force":
			f.Force = true
		case "yes":
			f.Agreed = true
		case "standby":
			f.Standby = true
		case "metered":
			f.Metered = true
		case "busy":
			f.Busy = value
		case "unready":
			f.NotReady = value
		case "timer":
			f.Timer = f.Now.Add(span())
		case "deferred":
			f.Deferred = span()
		case "asked": // so long ago
			f.Asked = f.Now.Add(-span())
		case "begun":
			f.Begun = f.Now.Add(-span())
		case "accepted":
			f.Accepted = f.Now.Add(-span())
		case "need":
			f.NeedBytes = number()
		case "free":
			f.FreeBytes = number()
		case "countdown":
			f.Rules.Countdown = span()
		case "deadline":
			f.Rules.Deadline = span()
		case "silence":
			f.Rules.Silence = Choice(value)
		case "apply":
			f.Rules.ApplySpread = span()
		case "spread":
			f.Rules.DownloadSpread = span()
		default:
			t.Fatalf("fact %q is not known", word)
		}
	}
	return Question(question), f
}

// verdict is v as the table has it; times are local, with the day where it is
// another one.
func verdict(v Verdict, now time.Time) string {
	if v == yes {
		return "yes"
	}
	words := []string{string(v.Why)}
	if !v.At.IsZero() {
		form := "15:04"
		if v.At.Format(time.DateOnly) != now.Format(time.DateOnly) {
			form = "01-02 15:04"
		}
		words = append(words, "until", v.At.In(now.Location()).Format(form))
	}
	if v.Again > 0 {
		words = append(words, "look", v.Again.String())
	}
	if v.Notice > 0 {
		words = append(words, "notice", v.Notice.String())
	}
	if v.Choice != "" {
		words = append(words, "then", string(v.Choice))
	}
	return strings.Join(words, " ")
}

func TestTable(t *testing.T) {
	t.Parallel()
	rows := 0
	for line := range strings.Lines(table) {
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(line, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 6 {
			t.Fatalf("%q has %d cells", line, len(cells))
		}
		rows++
		q, f := row(t, cells)
		v := Decide(q, f)
		if got := verdict(v, f.Now); got != cells[5] {
			t.Errorf("%s\n got %s", strings.TrimSpace(line), got)
		}
		switch {
		case v.Allowed && v != yes, !v.Allowed && (v.Reason == "" || v.Why == ""):
			t.Errorf("%s\n the verdict contradicts itself: %+v", strings.TrimSpace(line), v)
		case !v.At.IsZero() && !v.At.After(f.Now):
			t.Errorf("%s\n it changes in the past: %+v", strings.TrimSpace(line), v)
		}
	}
	if rows < 150 {
		t.Errorf("only %d rows", rows)
	}
	fmt.Fprintln(t.Output(), rows, "rows")
}
