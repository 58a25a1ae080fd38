package fleet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"otad/agent/report"
	"otad/ota"
	"otad/transport"
)

// Say is a message of a box.
func say(t testing.TB, box, leaf string, v any) transport.Message {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return transport.Message{Topic: "otad/" + box + "/" + leaf, Payload: data}
}

func idle(code int64) report.State {
	return report.State{V: 1, Online: true, Version: ota.Version{Code: code}, Slot: "a", Phase: ota.PhaseIdle}
}

func updating(code, to int64, percent int) report.State {
	s := idle(code)
	s.Phase, s.Percent = ota.PhaseDownloading, percent
	s.Transfer = report.TransferOf(int64(percent), 100, 10)
	s.Update = &report.Update{ID: "u", To: ota.Version{Code: to}}
	return s
}

func rolledBack(code int64) report.State {
	s := idle(code)
	s.Last = &ota.Outcome{ID: "u", Result: ota.PhaseRolledBack, Failure: &ota.Failure{Code: ota.CodeUnhealthy, Text: "cannot confirm: sick"}}
	return s
}

func rowOf(t *testing.T, f *Fleet, box string) Row {
	t.Helper()
	rows, _, _ := f.Since(0)
	for _, r := range rows {
		if r.Box == box {
			return r
		}
	}
	t.Fatalf("no box %q in %+v", box, rows)
	return Row{}
}

func TestTake(t *testing.T) {
	t.Parallel()
	f := New("otad")
	f.Take(say(t, "stv1/one", "state", updating(1, 2, 10)))
	f.Take(say(t, "stv1/one", "progress", report.Progress{V: 1, Update: "u", Phase: ota.PhaseInstalling, Stage: "write", Percent: 40}))
	if r := rowOf(t, f, "stv1/one"); r.Percent != 40 || r.Stage != "write" || !r.Moving() || r.To.Code != 2 {
		t.Errorf("after progress: %+v", r)
	}
	f.Take(say(t, "stv1/one", "progress", report.Progress{V: 1, Update: "old", Phase: ota.PhaseDownloading, Percent: 99}))
	if r := rowOf(t, f, "stv1/one"); r.Percent != 40 {
		t.Errorf("progress of another update was taken: %+v", r)
	}
	f.Take(transport.Message{Topic: "otad/stv1/one/state", Payload: report.Offline("stv1", "one")})
	if r := rowOf(t, f, "stv1/one"); r.Online || r.Version.Code != 1 || !r.Moving() {
		t.Errorf("after the last will: %+v", r)
	}
	f.Take(say(t, "stv1/one", "state", rolledBack(1)))
	if r := rowOf(t, f, "stv1/one"); !r.Bad() || r.Moving() || r.LastCode != ota.CodeUnhealthy {
		t.Errorf("after a rollback: %+v", r)
	}
	_, rev, changed := f.Since(0)
	f.Take(say(t, "stv1/two", "state", idle(2)))
	<-changed
	if rows, _, _ := f.Since(rev); len(rows) != 1 || rows[0].Box != "stv1/two" {
		t.Errorf("since then: %+v", rows)
	}
	for _, bad := range []transport.Message{
		{Topic: "otad/stv1/x/state", Payload: []byte("\xff{")}, {Topic: "otad/stv1/x/state", Payload: []byte(`{"v":2,"online":true}`)},
		{Topic: "otad/stv1/all/cmd", Payload: []byte(`{}`)}, {Topic: "other/stv1/x/state", Payload: []byte(`{"v":1,"online":true}`)},
		{Topic: "otad/state", Payload: []byte(`{"v":1,"online":true}`)},
	} {
		f.Take(bad)
	}
	if rows, _, _ := f.Since(0); len(rows) != 2 {
		t.Errorf("hostile messages made boxes: %+v", rows)
	}
}

// What a box says of itself neither steers the terminal nor fills it.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	f := New("otad")
	s := rolledBack(1)
	s.Version.Name = "\x1b[2J\x1b]0;owned\a4.2"
	s.Last.Failure.Text = strings.Repeat("ü", 5000) + "\n\r\x1b[31m"
	f.Take(say(t, "stv1/one", "state", s))
	var table bytes.Buffer
	rows, _, _ := f.Since(0)
	WriteTable(&table, rows, 0, 100, 20, false)
	for line := range strings.Lines(table.String()) {
		if strings.ContainsRune(line, '\x1b') || utf8.RuneCountInString(line) > 101 || !utf8.ValidString(line) {
			t.Errorf("line %q", line)
		}
	}
}

func fleetOf(t testing.TB, n int) *Fleet {
	t.Helper()
	f := New("otad")
	for i := range n {
		s := idle(int64(41 + i%2))
		switch {
		case i%100 == 7:
			s = rolledBack(41)
		case i%10 == 3:
			s = updating(41, 42, i%101)
		}
		f.Take(say(t, fmt.Sprintf("stv1/02:00:00:00:%02x:%02x", i>>8, i&255), "state", s))
	}
	return f
}

func TestTable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ boxes, width, height int }{{0, 80, 24}, {2, 80, 24}, {2000, 80, 24}, {2000, 200, 60}, {2000, 40, 5}, {30, 0, 0}} {
		t.Run(fmt.Sprintf("%d boxes on %dx%d", c.boxes, c.width, c.height), func(t *testing.T) {
			rows, _, _ := fleetOf(t, c.boxes).Since(0)
			Sort(rows, OrderNews)
			var table bytes.Buffer
			WriteTable(&table, rows, 0, c.width, c.height, false)
			lines := strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n")
			if c.height > 0 && len(lines) > c.height-1 || c.height == 0 && len(lines) != c.boxes+2 {
				t.Errorf("%d lines", len(lines))
			}
			for _, line := range lines {
				if c.width > 0 && utf8.RuneCountInString(line) > c.width {
					t.Errorf("%q is wider than %d", line, c.width)
				}
			}
			if want := fmt.Sprintf("%d boxes", c.boxes); !strings.HasPrefix(lines[0], want) {
				t.Errorf("totals %q", lines[0])
			}
			if c.boxes == 2000 && c.width > 40 && (!strings.Contains(lines[2], "rolled-back: cannot confirm") || !strings.Contains(lines[len(lines)-1], "… and ")) {
				t.Errorf("the table begins with %q and ends with %q", lines[2], lines[len(lines)-1])
			}
		})
	}
}

func TestSortAndMatch(t *testing.T) {
	t.Parallel()
	rows, _, _ := fleetOf(t, 200).Since(0)
	for order, want := range map[Order]func(a, b Row) bool{
		OrderNews:     func(a, b Row) bool { return a.Bad() || !b.Bad() },
		OrderName:     func(a, b Row) bool { return a.Box < b.Box },
		OrderVersion:  func(a, b Row) bool { return a.Version.Code <= b.Version.Code },
		OrderProgress: func(a, b Row) bool { return a.Phase != b.Phase || a.Percent >= b.Percent },
	} {
		Sort(rows, order)
		for i := 1; i < len(rows); i++ {
			if !want(rows[i-1], rows[i]) {
				t.Errorf("%s: %s before %s", order, rows[i-1].Line(), rows[i].Line())
				break
			}
		}
	}
	for filter, want := range map[string]int{"": 200, "downloading": 20, "!downloading": 180, "UNHEALTHY": 2, "online !online": 0, "00:00:07 stv1": 1} {
		n := 0
		for _, r := range rows {
			if Match(r, filter) {
				n++
			}
		}
		if n != want {
			t.Errorf("filter %q matches %d, want %d", filter, n, want)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	f := fleetOf(t, 3)
	srv := httptest.NewServer(f.Handler())
	defer srv.Close()
	defer srv.CloseClientConnections()
	resp, err := srv.Client().Get(srv.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func() (rows []Row) {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &rows); err != nil {
					t.Fatal(err)
				}
				return rows
			}
		}
		t.Fatal("the stream ended")
		return nil
	}
	if rows := next(); len(rows) != 3 {
		t.Errorf("first %d boxes", len(rows))
	}
	f.Take(say(t, "stv1/new", "state", idle(9)))
	if rows := next(); len(rows) != 1 || rows[0].Box != "stv1/new" || rows[0].Version.Code != 9 {
		t.Errorf("then %+v", rows)
	}
}

func BenchmarkTake2000(b *testing.B) {
	f := fleetOf(b, 2000)
	m := say(b, "stv1/02:00:00:00:00:03", "state", updating(41, 42, 50))
	b.ReportAllocs()
	for b.Loop() {
		f.Take(m)
	}
}

func FuzzTake(f *testing.F) {
	state, _ := json.Marshal(rolledBack(1))
	f.Add("otad/stv1/one/state", state)
	f.Add("otad/stv1/one/progress", []byte(`{"v":1,"update":"","percent":-5}`))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		fleet := New("otad")
		fleet.Take(transport.Message{Topic: topic, Payload: payload})
		fleet.Take(transport.Message{Topic: strings.Replace(topic, "state", "progress", 1), Payload: payload})
		rows, _, _ := fleet.Since(0)
		var table bytes.Buffer
		WriteTable(&table, rows, 0, 80, 24, false)
		if strings.ContainsRune(table.String(), '\x1b') {
			t.Errorf("%q", table.String())
		}
	})
}
