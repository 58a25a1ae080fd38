package main_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/build/tooltest"
	"otad/cmd/internal/cli"
	"otad/ota"
)

// TestInstallFaults are the troubles of `otad install FILE --yes`.
func TestInstallFaults(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		name   string
		source func(w *world) string
		want   want
	}{
		{"missing file", func(w *world) string { return w.path("none.swu") },
			want{cli.Failed, "", "none.swu", ""}},
		{"directory", func(w *world) string { return w.dir },
			want{cli.Failed, "", "not a regular file", ""}},
		{"text file", func(w *world) string { return w.path("otad.toml") },
			want{cli.Failed, ota.CodeArtifactDamaged, "cannot use artifact", ""}},
		{"empty file", func(w *world) string { w.write("empty.swu", nil); return "empty.swu" },
			want{cli.Failed, ota.CodeArtifactDamaged, "cannot use artifact", ""}},
		{"half an artifact", func(w *world) string { w.write("half.swu", w.good[:len(w.good)/2]); return "half.swu" },
			want{cli.Failed, ota.CodeArtifactDamaged, "cannot use artifact", ""}},
		{"changed artifact", func(w *world) string {
			e := entryOf(w.T, w.good, "")
			w.write("changed.swu", swapped(w.good, e.OffsetBytes+1000))
			return "changed.swu"
		}, want{cli.NotTrusted, ota.CodeArtifactHash, "cannot use artifact", ""}},
		{"URL that is not http", func(*world) string { return "ftp://host/2.swu" },
			want{cli.Usage, "", "ftp://host/2.swu", ""}},
		{"missing URL", func(w *world) string { return w.site.url + "/none.swu" },
			want{cli.Failed, ota.CodeFirmwareMissing, "404 Not Found", "exists"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			source := f.source(w)
			before := w.condition()
			r := w.otad("install", source, "--yes")
			w.wantFault(r, f.want)
			s := w.wantUntouched(before)
			if f.want.code != "" && (s.Last == nil || s.Last.Failure == nil || s.Last.Failure.Code != f.want.code) {
				t.Errorf("the last update is %+v, want code %s", s.Last, f.want.code)
			}
			w.wantInstalls()
		})
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"file", "relative path", "URL"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("two.swu", w.good)
			source := map[string]string{"file": w.path("two.swu"), "relative path": "two.swu", "URL": w.site.url + "/fw/2.swu"}[name]
			w.otad("install", source, "--yes").want(cli.RebootNeeded)
			w.wantArmed(w.two)
			if !bytes.Equal(w.read(w.path("two.swu")), w.good) {
				t.Error("the file that was handed in has changed")
			}
			if slot := w.boot(); slot != "b" {
				t.Fatalf("slot %s was started", slot)
			}
			s, _ := w.live(func(s report.State) bool { return s.Last != nil && s.Phase == ota.PhaseIdle })
			if s.Last.Result != ota.PhaseConfirmed || s.Version.Code != 2 {
				t.Errorf("got %+v", s.Last)
			}
			if _, err := os.Stat(w.path("two.swu")); err != nil {
				t.Error("the file that was handed in is gone")
			}
		})
	}
}

// TestFloor: what is older than the confirmed version needs a person's word.
func TestFloor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, service := w.live(ended(2))
	if s.Last.Result != ota.PhaseConfirmed || s.Floor != "2" {
		t.Fatalf("got %+v, floor %q", s.Last, s.Floor)
	}
	service.stop().want(cli.Done)
	one := system{code: 1}
	w.write("one.swu", one.artifact(t))
	before := w.condition()
	w.otad("install", "one.swu", "--yes").want(cli.Failed, `below the floor "2"`, "hint: ", "--below-floor")
	if s := w.status(); s.Last.Failure == nil || s.Last.Failure.Code != ota.CodeBelowFloor {
		t.Errorf("the last update is %+v", s.Last)
	}
	if w.condition() != before {
		t.Error("the box was changed")
	}
	// A person's word holds; the slot that it goes to is the old one, a.
	w.otad("install", "one.swu", "--yes", "--below-floor").want(cli.RebootNeeded)
	if next := w.condition().boot.Next; next != "a" || !w.holds("a", one.image()) {
		t.Errorf("slot %s is started next", next)
	}
}

// TestNoSpace gives the staging directory a small file system of its own, in
// a mount namespace that goes away with otad.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.condition()
	w.configure(func(c *config.Config) { c.Download.Mode = config.ModeStaged })
	w.mountStaging("4m")
	r := w.otad("upgrade", "--yes")
	w.wantFault(r, want{cli.Failed, ota.CodeNoSpace, "no space in the staging directory", ""})
	s := w.wantUntouched(before)
	if s.Last == nil || s.Last.Failure == nil || s.Last.Failure.Code != ota.CodeNoSpace {
		t.Errorf("the last update is %+v", s.Last)
	}
	w.mountStaging("64m")
	w.otad("upgrade", "--yes").want(cli.RebootNeeded)
	w.wantArmed(w.two)

	// Unless it is told otherwise, otad does without the space.
	w.configure()
	three := system{code: 3}
	w.boot()
	_, service := w.live(func(s report.State) bool { return s.Version.Code == 2 && s.Phase == ota.PhaseIdle })
	service.stop()
	w.site.release(t, three)
	w.mountStaging("4m")
	w.otad("upgrade", "--yes").want(cli.RebootNeeded)
	if !w.holds("a", three.image()) {
		t.Error("slot a does not hold the streamed image")
	}
}

// mountStaging gives every otad that is started from now on a file system of
// its own, of the given size, to stage in.
func (b *box) mountStaging(size string) {
	b.t.Helper()
	unshare := tooltest.Path(b.t, "unshare")
	must(b.t, os.MkdirAll(b.path("staging"), 0o755))
	const script = `mount -t tmpfs -o size=$SIZE staging "$STAGING" && exec "$@"`
	b.wrap = []string{unshare, "-m", "env", "SIZE=" + size, "STAGING=" + b.path("staging"), "sh", "-c", script, "sh"}
	if os.Geteuid() != 0 {
		b.wrap = slices.Insert(b.wrap, 1, "-r")
	}
	probe := append(slices.Clone(b.wrap[1:]), "true")
	if out, err := exec.Command(unshare, probe...).CombinedOutput(); err != nil {
		b.t.Skipf("cannot mount a small file system here: %v: %s", err, out)
	}
}

// TestSecondOtad: there is one otad at a time, and it has a name.
func TestSecondOtad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure(quiet)
	first := w.start()
	first.await(inPhase(ota.PhaseIdle))
	holder := "process " + itoa(first.cmd.Process.Pid)
	w.otad("run").want(cli.Locked, "cannot lock", holder, "hint: ")
	// The one that runs is not disturbed, and its door still open.
	first.await(inPhase(ota.PhaseIdle))
	w.otad("status").want(cli.Done).said("none under way")
	first.stop().want(cli.Done)

	// A one-shot otad has no door; a second one is told who is at work.
	w.file.Set(trickle)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	shot := w.command(ctx, "upgrade", "--yes")
	var log tape
	shot.Stderr = &log
	must(t, shot.Start())
	log.await(t, "downloading")
	for _, verb := range []string{"status", "upgrade", "run", "cancel"} {
		w.otad(verb).want(cli.Locked, "cannot lock", "process "+itoa(shot.Process.Pid))
	}
	must(t, shot.Process.Signal(syscall.SIGINT))
	shot.Wait()
	if code := shot.ProcessState.ExitCode(); code != cli.Interrupted {
		t.Errorf("exit code %d after an interrupt, want %d\n%s", code, cli.Interrupted, log.String())
	}
	w.file.Set(noFaults)
	w.otad("upgrade", "--yes").want(cli.RebootNeeded)
	w.wantArmed(w.two)
}

// quiet keeps a service from asking the server by itself.
func quiet(c *config.Config) { c.Policy.CheckEvery = config.Duration(1000 * time.Hour) }
