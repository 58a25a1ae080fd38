package main_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport/download/downloadtest"
	"otad/transport/upgradelink/upgradelinktest"
)

var (
	trickle  = downloadtest.Faults{Rate: 128 << 10}
	noFaults = downloadtest.Faults{}
)

func itoa(n int) string { return strconv.Itoa(n) }

// await waits until text was printed.
func (l *tape) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(l.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q was never printed:\n%s", text, l.String())
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSite(t))
	for _, args := range [][]string{
		{"dance"}, {"upgrade", "now"}, {"upgrade", "--soon"}, {"upgrade", "--to", "two"}, {"install"}, {"install", "a", "b"},
		{"consent"}, {"consent", "maybe"}, {"config"}, {"config", "edit"}, {"history", "--limit", "-1"}, {"logs", "--limit", "-1"}, {"status", "now"},
		{"upgrade", "--to", "-1"}, {"run", "now"}, {"version", "2"},
	} {
		r := b.otad(args...).want(cli.Usage)
		if r.stdout != "" {
			t.Errorf("%q: standard output %q", args, r.stdout)
		}
		if r.stderr == "" || len(r.stderr) > 1000 {
			t.Errorf("%q: standard error %q", args, r.stderr)
		}
	}
	if _, err := os.Stat(b.path("otad.toml")); err != nil {
		t.Error(err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSite(t))
	must(t, os.Remove(b.path("otad.toml"))) // it needs none
	run := func(args ...string) result {
		cmd := b.command(t.Context(), args...)
		cmd.Args = cmd.Args[:len(args)+1]
		return b.finish(cmd)
	}
	run("version").want(cli.Done).said("otad dev ")
	about := decode[struct {
		Version, Go string
		Modules     map[string]string
	}](run("version", "--json").want(cli.Done))
	if about.Version != "dev" || !strings.HasPrefix(about.Go, "go1.") || about.Modules["go.etcd.io/bbolt"] == "" {
		t.Errorf("got %+v", about)
	}
	run("help").want(cli.Done).said("upgrade", "install", "status")
	run("upgrade", "--help").want(cli.Done).said("-yes", "-to CODE")
	run().want(cli.Usage, "usage: otad")
}

func TestConfig(t *testing.T) {
	t.Parallel()
	b := newBox(t, newSite(t))
	b.otad("config", "check").want(cli.Done).said("otad.toml", "right")
	shown := b.otad("config", "show").want(cli.Done).said(`model = "stv1"`, "check_every")
	if strings.Contains(shown.stdout, secret) {
		t.Error("the secret is shown")
	}
	// What is shown is a settings file that means the same.
	b.write("otad.toml", []byte(shown.stdout))
	if again := b.otad("config", "show").want(cli.Done); again.stdout != shown.stdout {
		t.Errorf("shown once\n%s\nand again\n%s", shown.stdout, again.stdout)
	}
	for _, row := range []struct {
		name string
		edit func(c *config.Config)
		text string
	}{
		{"CA", func(c *config.Config) { c.Trust.CA = []string{b.path("none.pem")} }, "none.pem"},
		{"secret", func(c *config.Config) { c.Server.SecretKeyFile = b.path("none") }, "secret"},
		{"version", func(c *config.Config) { c.Firmware.VersionFile = b.path("none") }, "running version"},
		{"server's CA", func(c *config.Config) { c.Server.CA = b.path("none.pem") }, "none.pem"},
		{"broker's CA", func(c *config.Config) { c.MQTT.Brokers, c.MQTT.CA = []string{"ssl://127.0.0.1:1"}, b.path("secret") }, "no certificate"},
		{"broker's password", func(c *config.Config) {
			c.MQTT.Brokers, c.MQTT.Username, c.MQTT.PasswordFile = []string{"tcp://127.0.0.1:1"}, "box", b.path("none")
		}, "secret"},
		{"URL", func(c *config.Config) { c.Server.URL = "upgrade.example" }, "server.url"},
	} {
		b.configure(row.edit)
		b.otad("config", "check").want(cli.BadConfig, "cannot ", row.text)
		b.otad("run").want(cli.BadConfig, "cannot ", row.text)
	}
	b.configure(func(c *config.Config) { c.Board.Dir = b.path("none") })
	b.otad("config", "check").want(cli.Failed, "cannot open box")
}

// TestOneShotAndDaemonSayTheSame holds the two ways to a verb together.
func TestOneShotAndDaemonSayTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure(quiet)
	w.put(pack(t, authority(), "other", "2", w.two.image()))
	w.otad("upgrade", "--yes").want(cli.Failed)
	ask := func() (answers []string) {
		for _, args := range [][]string{{"status"}, {"history"}, {"history", "--json"}, {"history", "--limit", "1"}} {
			answers = append(answers, w.otad(args...).want(cli.Done).stdout)
		}
		s := w.status()
		s.Time, s.Online, s.CheckAt = time.Time{}, false, nil // what only a service has
		text, err := json.Marshal(s)
		must(t, err)
		return append(answers, string(text))
	}
	alone := ask()
	w.start().await(inPhase(ota.PhaseIdle))
	served := ask()
	for i := range alone {
		// The next check is planned by a service alone.
		if without(served[i], "next check") != alone[i] {
			t.Errorf("alone\n%s\nserved\n%s", alone[i], served[i])
		}
	}
	if !strings.Contains(alone[0], "wrong-hardware") || !strings.Contains(alone[1], "failed") {
		t.Errorf("the failure is not told:\n%s\n%s", alone[0], alone[1])
	}
	// Refusals too are the same.
	w.otad("cancel").want(cli.Nothing, "no update is under way")
	w.otad("consent", "accept").want(cli.Nothing, "no update waits for it")
}

// without is text without the lines that contain a word.
func without(text, word string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, word) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func TestUpgradeInTheForeground(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.otad("upgrade", "--yes", "--json").want(cli.RebootNeeded, "downloading", "installing verify", "installing write", "armed")
	s := decode[report.State](r)
	if s.Phase != ota.PhaseArmed || s.Update == nil || s.Update.To.Code != 2 {
		t.Errorf("got %+v", s)
	}
	w.wantArmed(w.two)
	// Whoever asks again, before the box restarts, is told the same.
	w.otad("upgrade", "--yes").want(cli.RebootNeeded)
	w.otad("upgrade", "--yes", "--to", "9").want(cli.Failed, "cannot begin", "restarts")
	w.otad("install", w.path("otad.toml"), "--yes").want(cli.Failed, "cannot begin", "restarts")
	w.otad("status").want(cli.Done).said("armed")
	if slot := w.boot(); slot != "b" {
		t.Fatalf("slot %s was started", slot)
	}
	// The next boot confirms.
	last, service := w.live(ended(2))
	if last.Last.Result != ota.PhaseConfirmed || last.Version.Code != 2 {
		t.Errorf("got %+v", last.Last)
	}
	service.stop().want(cli.Done)
	if c := w.condition(); c.boot.Slot != "b" || c.boot.Trial || c.boot.Next != "b" {
		t.Errorf("the bootloader says %+v", c.boot)
	}
	w.otad("upgrade", "--yes").want(cli.Nothing)
	if list := w.history(); len(list) != 1 || list[0].Result != ota.PhaseConfirmed || list[0].By != "cli" || list[0].Slot != "b" {
		t.Errorf("history %+v", list)
	}
	if left := w.staged(); len(left) > 0 {
		t.Errorf("left in staging: %q", left)
	}
}

func TestUpgradeThroughTheDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure(quiet)
	service := w.start()
	service.await(inPhase(ota.PhaseIdle))
	w.otad("upgrade", "--yes", "--wait").want(cli.RebootNeeded)
	service.wait().want(cli.RebootNeeded)
	if slot := w.boot(); slot != "b" {
		t.Fatalf("slot %s was started", slot)
	}
	s, _ := w.live(ended(2))
	if s.Last.Result != ota.PhaseConfirmed || s.Last.By != "cli" {
		t.Errorf("got %+v", s.Last)
	}
}

func TestUnhealthySystemGoesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.site.release(t, system{code: 3, health: "echo no picture >&2; exit 7"})
	s, service := w.live(ended(3))
	if s.Last.Result != ota.PhaseRolledBack || s.Version.Code != 1 || s.Slot != "a" {
		t.Fatalf("got %+v, version %d in slot %s", s.Last, s.Version.Code, s.Slot)
	}
	service.stop().want(cli.Done)
	w.otad("history").want(cli.Done).said("rolled-back", "no picture", "unhealthy")
	w.otad("check").want(cli.Nothing, "it failed before", "no picture", "hint: ")
	// It is gone for good: nothing but the old system is ever started again.
	if slot := w.boot(); slot != "a" {
		t.Errorf("slot %s was started", slot)
	}
}

// TestSystemThatNeverComesUp: the bootloader goes back by itself.
func TestSystemThatNeverComesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.otad("upgrade", "--yes").want(cli.RebootNeeded)
	for tries := 0; w.boot() == "b"; tries++ {
		if tries > 10 {
			t.Fatal("the bootloader never goes back")
		}
	}
	s, service := w.live(ended(2))
	service.stop().want(cli.Done)
	if s.Last.Result != ota.PhaseRolledBack || s.Last.Failure.Code != ota.CodeNeverCameUp || s.Version.Code != 1 {
		t.Errorf("got %+v, failure %+v", s.Last, s.Last.Failure)
	}
	w.otad("check").want(cli.Nothing, "it failed before", "hint: ")
	w.wantInstalls() // for a person may insist
}

// TestServiceTellsItsTrouble: the service stays up, says what is wrong, and
// goes on when that is over.
func TestServiceTellsItsTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure(func(c *config.Config) {
		c.Download.RetryFirst, c.Download.RetryMax = config.Duration(time.Second), config.Duration(time.Second)
	})
	w.site.api.Inject(upgradelinktest.Portal)
	service := w.start()
	s := service.await(func(s report.State) bool { return s.Trouble != nil })
	if s.Trouble.Code != ota.CodeServerTrouble || s.Phase != ota.PhaseIdle {
		t.Errorf("phase %s, trouble %+v", s.Phase, s.Trouble)
	}
	w.otad("status").want(cli.Done).said("trouble", "cannot ask", "server-trouble")
	w.file.Set(downloadtest.Faults{HTML: true})
	w.site.api.ClearFaults()
	s = service.await(func(s report.State) bool { return s.Trouble != nil && s.Phase == ota.PhaseDownloading })
	if s.Trouble.Code != ota.CodeFirmwareHTML {
		t.Errorf("trouble %+v", s.Trouble)
	}
	w.file.Set(noFaults)
	service.wait().want(cli.RebootNeeded)
	w.wantArmed(w.two)
}

// TestUnreadableBootEnvironment: otad does nothing, says why, and goes on when
// the environment can be read again.
func TestUnreadableBootEnvironment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	env := w.read(w.path("board/env.0"))
	copies, err := filepath.Glob(w.path("board/env.*"))
	must(t, err)
	for _, path := range copies {
		must(t, os.WriteFile(path, []byte("no environment"), 0o644))
	}
	w.otad("upgrade", "--yes").want(cli.Failed, "cannot begin", "board")
	w.otad("status").want(cli.Done).said("trouble", "boot-environment")
	service := w.start()
	service.await(func(s report.State) bool { return s.Trouble != nil && s.Trouble.Code == ota.CodeBootEnvironment })
	w.write("board/env.0", env)
	service.wait().want(cli.RebootNeeded)
	w.wantArmed(w.two)
}

// TestConsent: an offer that the viewer has to agree to waits for that.
func TestConsent(t *testing.T) {
	t.Parallel()
	offered := func(t *testing.T) (*world, *service) {
		w := newWorld(t)
		w.configure(quiet)
		w.site.offerAs(ota.UpgradePrompt, 2, w.site.url+"/fw/2.swu")
		service := w.start()
		service.await(inPhase(ota.PhaseIdle))
		w.otad("check").want(cli.Done).said("version 2", "prompt")
		s := service.await(func(s report.State) bool { return s.Reason != "" })
		if s.Phase != ota.PhaseOffered || !strings.Contains(s.Reason, "consent") {
			t.Errorf("got phase %s, reason %q", s.Phase, s.Reason)
		}
		if asked := w.file.Stats().Requests; asked != 0 {
			t.Errorf("%d requests for the artifact before the viewer agreed", asked)
		}
		w.otad("status").want(cli.Done).said("waiting for the viewer's consent")
		return w, service
	}
	t.Run("accepted", func(t *testing.T) {
		t.Parallel()
		w, service := offered(t)
		w.otad("consent", "accept").want(cli.Done)
		service.wait().want(cli.RebootNeeded)
		w.wantArmed(w.two)
	})
	t.Run("declined", func(t *testing.T) {
		t.Parallel()
		w, service := offered(t)
		w.otad("consent", "decline").want(cli.Done)
		if s := service.await(ended(2)); s.Last.Failure == nil || s.Last.Failure.Code != ota.CodeDeclined {
			t.Errorf("got %+v", s.Last)
		}
		w.otad("check").want(cli.Nothing, "declined")
	})
	t.Run("upgrade is consent", func(t *testing.T) {
		t.Parallel()
		w, service := offered(t)
		w.otad("upgrade").want(cli.Done)
		service.wait().want(cli.RebootNeeded)
		w.wantArmed(w.two)
	})
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.site.offerAs(ota.UpgradePrompt, 2, w.site.url+"/fw/2.swu")
		w.otad("check").want(cli.Done).said("version 2")
		w.otad("consent", "accept").want(cli.Done)
		w.otad("upgrade").want(cli.RebootNeeded)
		w.wantArmed(w.two)
	})
}

// TestViewer: nobody is disturbed unless a person says so.
func TestViewer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("board/busy", []byte("recording\n"))
	w.otad("upgrade").want(cli.RebootNeeded).said("armed", "recording")
	if next := w.condition().boot.Next; next != "b" || w.rebootWanted() != "" {
		t.Errorf("slot %s is started next; otad asked for a restart: %q", next, w.rebootWanted())
	}
	service := w.start()
	s := service.await(func(s report.State) bool { return s.Reason != "" })
	if s.Phase != ota.PhaseArmed || !strings.Contains(s.Reason, "recording") {
		t.Errorf("phase %s, reason %q", s.Phase, s.Reason)
	}
	w.otad("upgrade", "--yes").want(cli.Done)
	service.wait().want(cli.RebootNeeded)
	w.wantArmed(w.two)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure(quiet)
	w.file.Set(trickle)
	service := w.start()
	before := w.condition()
	service.await(inPhase(ota.PhaseIdle))
	w.otad("upgrade", "--yes").want(cli.Done).said("version 2")
	service.await(func(s report.State) bool { return s.Transfer != nil && s.Transfer.DoneBytes > 0 })
	w.otad("check").want(cli.Failed, "downloading", "cli") // busy
	w.otad("upgrade", "--to", "9").want(cli.Failed, "cannot begin", "version 2")
	w.otad("cancel").want(cli.Done)
	s := service.await(ended(2))
	if s.Last.Failure == nil || s.Last.Failure.Code != ota.CodeCancelled {
		t.Errorf("got %+v", s.Last)
	}
	service.stop().want(cli.Done)
	if w.condition() != before || len(w.staged()) > 0 {
		t.Errorf("the box was changed; in staging is %q", w.staged())
	}
	// Without the service too: what was interrupted is taken back.
	w.site.release(t, w.two).Set(trickle)
	shot := w.command(t.Context(), "upgrade", "--yes")
	var log tape
	shot.Stderr = &log
	must(t, shot.Start())
	log.await(t, "downloading")
	must(t, shot.Process.Signal(syscall.SIGINT))
	shot.Wait()
	w.otad("cancel").want(cli.Done).said("none under way", "cancelled by cli")
	if w.condition() != before || len(w.staged()) > 0 {
		t.Errorf("the box was changed; in staging is %q", w.staged())
	}
	w.wantInstalls()
}

// TestTo asks for one version of several.
func TestTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	three := system{code: 3}
	url, _ := w.site.serve("3.swu", three.artifact(t))
	w.site.publish(ota.UpgradeSilent, 3, url)
	w.otad("upgrade", "--yes", "--to", "7").want(cli.Nothing, "cannot ask")
	w.otad("upgrade", "--yes", "--to", "2").want(cli.RebootNeeded)
	w.wantArmed(w.two)
}

func TestSignals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure(quiet)
	w.file.Set(trickle)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		shot := w.command(context.Background(), "upgrade", "--yes")
		var log tape
		shot.Stderr = &log
		must(t, shot.Start())
		log.await(t, "downloading")
		must(t, shot.Process.Signal(signal))
		started := time.Now()
		shot.Wait()
		if code := shot.ProcessState.ExitCode(); code != cli.Interrupted || time.Since(started) > 2*time.Second {
			t.Errorf("%v: exit code %d after %v\n%s", signal, code, time.Since(started), log.String())
		}
	}
	// The service goes on with it, and ends at once and politely when asked.
	service := w.start()
	service.await(inPhase(ota.PhaseDownloading))
	started := time.Now()
	service.stop().want(cli.Done)
	if took := time.Since(started); took > 2*time.Second {
		t.Errorf("SIGTERM took %v", took)
	}
	if left := w.staged(); len(left) == 0 {
		t.Error("what was fetched is gone")
	}
	w.file.Set(noFaults)
	w.otad("upgrade", "--yes").want(cli.RebootNeeded)
	w.wantArmed(w.two)
}

// TestDamagedJournal: a journal that cannot be read costs its content, not the box.
func TestDamagedJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.otad("status").want(cli.Done)
	must(t, os.WriteFile(filepath.Join(w.config.State.Dir, "journal.db"), []byte(strings.Repeat("damaged ", 4096)), 0o600))
	w.otad("upgrade", "--yes").want(cli.RebootNeeded, "journal was damaged")
	w.wantArmed(w.two)
	kept, err := filepath.Glob(filepath.Join(w.config.State.Dir, "journal.db.damaged-*"))
	if err != nil || len(kept) != 1 {
		t.Errorf("kept aside: %q, %v", kept, err)
	}
}
