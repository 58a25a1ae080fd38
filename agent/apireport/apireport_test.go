package apireport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"otad/ota"
	"otad/ota/journal"
)

// server takes reports, or not.
type server struct {
	mu    sync.Mutex
	fault func(ota.Report) error
	took  []ota.Report
	at    []time.Time // of all attempts
}

func (s *server) Report(_ context.Context, r ota.Report) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Now())
	if s.fault != nil {
		if err := s.fault(r); err != nil {
			return err
		}
	}
	s.took = append(s.took, r)
	return nil
}

func (s *server) seen() (took, attempts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.took), len(s.at)
}

func open(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, _, err := journal.Open(filepath.Join(dir, "journal.db"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func put(t *testing.T, j *journal.Journal, list ...ota.Report) {
	t.Helper()
	if err := j.CommitChannel(journal.ChannelChange{Reports: list}); err != nil {
		t.Fatal(err)
	}
}

func queue(t *testing.T, j *journal.Journal) journal.Reports {
	t.Helper()
	q, err := j.Reports()
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func report(kind string, target int64) ota.Report {
	return ota.Report{Type: kind, AppKey: "fw", Running: 1, Target: target}
}

const download, upgrade = "app_upgrade_download", "app_upgrade_upgrade"

// simulate lets a sender run for a while, in a bubble.
func simulate(t *testing.T, prepare func(j *journal.Journal, s *server), during time.Duration, judge func(j *journal.Journal, s *server)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		j, s := open(t, dir), &server{}
		defer j.Close()
		prepare(j, s)
		ctx, cancel := context.WithCancel(t.Context())
		sender := Sender{Queue: j, Server: s, Log: slog.New(slog.DiscardHandler)}
		var done sync.WaitGroup
		done.Go(func() { sender.Run(ctx) })
		time.Sleep(during)
		cancel()
		done.Wait()
		judge(j, s)
	})
}

func TestSendsInOrder(t *testing.T) {
	t.Parallel()
	simulate(t, func(j *journal.Journal, _ *server) {
		put(t, j, report(download, 2), report(upgrade, 2), report(download, 3))
	}, time.Minute, func(j *journal.Journal, s *server) {
		if fmt.Sprint(s.took) != fmt.Sprint([]ota.Report{report(download, 2), report(upgrade, 2), report(download, 3)}) {
			t.Errorf("the server has %v", s.took)
		}
		if q := queue(t, j); len(q.Queue) != 0 || q.Failures != 0 {
			t.Errorf("left: %+v", q)
		}
	})
}

// A server as shipped: 500 to downloads and upgrades, and its breaker opens
// after eight of them. Two days are lived through without opening it; the start
// gets through; the download is given up, the outcome is not.
func TestServerAsShipped(t *testing.T) {
	t.Parallel()
	simulate(t, func(j *journal.Journal, s *server) {
		put(t, j, report(download, 2), report(upgrade, 2), ota.Report{Type: "app_start", AppKey: "fw"})
		s.fault = func(r ota.Report) error {
			if r.Type != "app_start" {
				return ota.NewTransient(ota.CodeServerTrouble, errors.New("500"))
			}
			return nil
		}
	}, 48*time.Hour, func(j *journal.Journal, s *server) {
		if len(s.took) != 1 || s.took[0].Type != "app_start" {
			t.Errorf("the server has %v", s.took)
		}
		if n := len(s.at); n < 8 || n > 60 {
			t.Errorf("%d attempts in two days", n)
		}
		for i := range s.at {
			close := 0
			for _, at := range s.at[i:] {
				if at.Sub(s.at[i]) < 2*time.Minute {
					close++
				}
			}
			if close > 4 {
				t.Errorf("%d attempts within two minutes", close)
			}
		}
		if q := queue(t, j); len(q.Queue) != 1 || q.Queue[0].Report != report(upgrade, 2) {
			t.Errorf("left: %+v", q)
		}
	})
}

func TestOutcomeArrivesLate(t *testing.T) {
	t.Parallel()
	simulate(t, func(j *journal.Journal, s *server) {
		put(t, j, report(upgrade, 2))
		began := time.Now()
		s.fault = func(ota.Report) error {
			if time.Since(began) < 7*24*time.Hour {
				return ota.NewTransient(ota.CodeServerUnreachable, errors.New("no route"))
			}
			return nil
		}
	}, 8*24*time.Hour, func(_ *journal.Journal, s *server) {
		if took, _ := s.seen(); took != 1 {
			t.Errorf("%d reports after a week without a network", took)
		}
	})
}

// The wait outlives a restart: a box that starts every minute does not ask
// every minute.
func TestWaitOutlivesRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		j, s := open(t, dir), &server{fault: func(ota.Report) error { return ota.NewTransient(ota.CodeServerTrouble, errors.New("503")) }}
		defer j.Close()
		put(t, j, report(upgrade, 2))
		for range 120 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			sender := Sender{Queue: j, Server: s, Log: slog.New(slog.DiscardHandler)}
			sender.Run(ctx)
			cancel()
		}
		if _, attempts := s.seen(); attempts == 0 || attempts > 12 {
			t.Errorf("%d attempts in 120 starts", attempts)
		}
	})
}

func TestRefusedIsDropped(t *testing.T) {
	t.Parallel()
	for code, stays := range map[ota.Code]bool{
		ota.CodeServerRefused: false, ota.CodeNotSupported: false, ota.CodeAppUnknown: false,
		ota.CodeSecret: true, ota.CodeAccessKey: true, ota.CodeRateLimited: true,
	} {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			simulate(t, func(j *journal.Journal, s *server) {
				put(t, j, report(upgrade, 2))
				s.fault = func(ota.Report) error { return ota.NewRefused(code, errors.New("no")) }
			}, time.Hour, func(j *journal.Journal, _ *server) {
				if left := len(queue(t, j).Queue) == 1; left != stays {
					t.Errorf("it stays: %v", left)
				}
			})
		})
	}
}

// News are sent soon, without waiting for the next look.
func TestNewsWake(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		j, s, changed := open(t, dir), &server{}, make(chan struct{}, 1)
		defer j.Close()
		ctx, cancel := context.WithCancel(t.Context())
		sender := Sender{Queue: j, Server: s, Log: slog.New(slog.DiscardHandler), Changed: changed}
		var done sync.WaitGroup
		done.Go(func() { sender.Run(ctx) })
		time.Sleep(time.Minute)
		put(t, j, report(upgrade, 2))
		changed <- struct{}{}
		time.Sleep(time.Minute)
		if took, _ := s.seen(); took != 1 {
			t.Errorf("%d reports", took)
		}
		cancel()
		done.Wait()
	})
}

// The codes stand in the page for operators.
func TestResultsAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/upgradelink.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := resultRows(string(page))
	for code, result := range results {
		if rows[string(code)] != fmt.Sprint(result) {
			t.Errorf("%s is %d, the page says %q", code, result, rows[string(code)])
		}
	}
	if len(rows) != len(results) {
		t.Errorf("the page has %d codes, there are %d", len(rows), len(results))
	}
	if ResultOf(nil) != 0 || ResultOf(&ota.Failure{Code: ota.CodeUnhealthy}) != 1 {
		t.Error("success is not 0, or a failure not 1")
	}
}

// resultRows reads the table: | 1001 | `code` `code` … |.
func resultRows(page string) map[string]string {
	rows := map[string]string{}
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		result := strings.TrimSpace(cells[0])
		if len(cells) < 3 || len(result) != 4 || !strings.HasPrefix(result, "100") {
			continue
		}
		for _, code := range strings.Fields(cells[2]) {
			rows[strings.Trim(code, "`")] = result
		}
	}
	return rows
}
