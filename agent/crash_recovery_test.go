package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"otad/board"
	"otad/board/sim"
	"otad/ota"
	"otad/ota/journal"
)

const recoveryPage = "../docs/recovery.md"

// The words of docs/recovery.md. The old system is version 1 in slot a, the
// new one version 2 in slot b.
var (
	journalWords = []string{"none", "damaged", "from the future", "idle", "offered", "downloading", "downloaded", "installing", "installed",
		"armed, this boot", "armed, earlier boot", "trial", "trial, healthy", "trial, unhealthy", "confirmed", "rolled-back", "failed", "failed, given up"}
	boardWords = []string{"old runs", "old runs, new armed", "new on trial", "new permanent", "environment reset", "both slots bad"}
)

// TestRecoveryPage brings about every row of docs/recovery.md, starts otad and
// holds what it does to what the page says. The page has every pair; "any"
// stands for what has no row of its own.
func TestRecoveryPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(recoveryPage)
	must(t, err)
	rows := map[[2]string][2]string{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 || !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| journal ") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows[[2]string{cells[0], cells[1]}] = [2]string{cells[2], cells[3]}
	}
	listed := maps.Clone(rows)
	var found strings.Builder
	for _, onBoard := range boardWords {
		for _, inJournal := range journalWords {
			want, one := rows[[2]string{inJournal, onBoard}]
			if !one {
				want = rows[[2]string{"any", onBoard}]
				delete(listed, [2]string{"any", onBoard})
			}
			delete(listed, [2]string{inJournal, onBoard})
			act, end := reconcile(t, inJournal, onBoard)
			fmt.Fprintf(&found, "| %s | %s | %s | %s |\n", inJournal, onBoard, act, end)
			if want != [2]string{act, end} {
				t.Errorf("journal %q, board %q: it does %q and ends in %q; the page says %q", inJournal, onBoard, act, end, want)
			}
		}
	}
	for row := range listed {
		t.Errorf("the page has a row %q that is in no words of this test", row)
	}
	if t.Failed() {
		t.Logf("this is what happens:\n%s", found.String())
	}
}

// reconcile brings a box into the state that the words say and lets it live. It
// returns the first act of otad and how it ends.
func reconcile(t *testing.T, inJournal, onBoard string) (act, end string) {
	dir := journalDir(t)
	synctest.Test(t, func(t *testing.T) {
		b := newCrashBox(&story{name: inJournal + "/" + onBoard}, factory(), dir, crashLog(t, false))
		b.byHand = true
		driver := b.arrange(t, inJournal, onBoard)
		boot, err := driver.Current(t.Context())
		must(t, err)
		b.writeJournal(t, inJournal, boot)
		act = b.firstAct(t, boot)
		if onBoard == "both slots bad" {
			b.restart()
			if b.live(); strings.Contains(strings.Join(b.wrong, " "), sim.ErrDead.Error()) {
				act, end = "-", "dead"
				return
			}
		}
		b.powerOns++
		b.otad(driver, map[string]int64{"a": 1, "b": 2}[boot.Slot], false)
		b.restart()
		if len(b.wrong) == 0 {
			b.live()
		}
		end = b.end(t)
	})
	return act, end
}

// arrange puts the board into its state.
func (b *crashBox) arrange(t *testing.T, inJournal, onBoard string) *sim.Board {
	t.Helper()
	ctx := context.Background()
	machine, err := sim.NewMachine(b.disk, crashBoxDir)
	must(t, err)
	driver, err := sim.Open(b.disk, crashBoxDir)
	must(t, err)
	powerOn := func() {
		_, _, err := machine.PowerOn()
		must(t, err)
	}
	powerOn()
	image := crashFirmware().images[2]
	if inJournal == "installing" && !strings.Contains(onBoard, "new") {
		image = image[:len(image)/2]
	}
	b.disk.Put(crashBoxDir+"/slot-b.img", append(image[:len(image):len(image)], make([]byte, crashSlotBytes-len(image))...))
	must(t, driver.MarkUnbootable(ctx, "b"))
	switch onBoard {
	case "old runs, new armed":
		must(t, driver.Arm(ctx, "b"))
	case "new on trial", "new permanent":
		must(t, driver.Arm(ctx, "b"))
		powerOn()
		if onBoard == "new permanent" {
			must(t, driver.Confirm(ctx))
		}
	case "environment reset":
		b.disk.Put(crashBoxDir+"/env.0", []byte("garbage"))
		b.disk.Put(crashBoxDir+"/env.1", nil)
		powerOn()
	case "both slots bad":
		text := "serial=99\ndefault=a\ntrying=\ntries=0\nbad=a b\n"
		b.disk.Put(crashBoxDir+"/env.0", fmt.Appendf(nil, "%scrc=%08x\n", text, crc32.ChecksumIEEE([]byte(text))))
	}
	return driver
}

// writeJournal makes the journal that the word says.
func (b *crashBox) writeJournal(t *testing.T, word string, boot board.Boot) {
	t.Helper()
	if word == "none" {
		return
	}
	path := filepath.Join(b.dir, journalName)
	must(t, writeFiles(b.dir, nil))
	j, _, err := journal.Open(path, time.Now())
	must(t, err)
	rec := b.recordOf(word, boot)
	must(t, j.Commit(journal.Change{Update: &rec}))
	must(t, j.Close())
	if word == "from the future" {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
		must(t, err)
		must(t, db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("meta")).Put([]byte("schema"), binary.BigEndian.AppendUint64(nil, 99))
		}))
		must(t, db.Close())
	}
	b.files, err = readFiles(b.dir)
	must(t, err)
	if word == "damaged" {
		clear(b.files[journalName][:2*journalPage])
	}
}

// recordOf is the record of an update to version 2 that is so far.
func (b *crashBox) recordOf(word string, boot board.Boot) ota.Record {
	phase, about, _ := strings.Cut(word, ", ")
	r := ota.Record{Phase: ota.Phase(phase), ID: "U1", By: "poll", From: ota.Version{Code: 1, Name: "v1"}, FromSlot: "a",
		Offer: ota.Offer{VersionCode: 2, VersionName: "v2", URL: "http://host/2.swu", Type: ota.UpgradeSilent}}
	far := func(p ota.Phase) bool { return phaseNumber(r.Phase) >= phaseNumber(p) }
	switch r.Phase {
	case ota.PhaseIdle, "damaged", "from the future":
		return ota.Record{Phase: ota.PhaseIdle}
	}
	if far(ota.PhaseDownloaded) {
		r.File = crashStaging + "/U1.swu"
		b.disk.Put(r.File, crashFirmware().artifacts[2])
	}
	if far(ota.PhaseInstalling) {
		r.ToSlot = "b"
	}
	if far(ota.PhaseInstalled) {
		r.Image = ota.Image{Version: "2", SizeBytes: int64(len(crashFirmware().images[2]))}
	}
	if far(ota.PhaseArmed) {
		if r.BootID = "earlier"; about == "this boot" {
			r.BootID = boot.ID
		}
	}
	switch {
	case about == "healthy", r.Phase == ota.PhaseConfirmed:
		r.Healthy = true
	case about == "unhealthy", r.Phase == ota.PhaseRolledBack:
		r.Failure = ota.FailureOf(ota.NewPermanent(ota.CodeUnhealthy, errors.New("cannot confirm the new system: sick")))
	case about == "given up":
		r.Failure = ota.FailureOf(ota.NewRefused(ota.CodeRejected, errors.New("cannot keep the new system: given up by cli")))
	case r.Phase == ota.PhaseFailed:
		r.Failure = ota.FailureOf(ota.NewTransient(ota.CodeReadback, errors.New("cannot trust the slot")))
	}
	return r
}

func phaseNumber(p ota.Phase) int {
	for i, phase := range ota.Phases {
		if p == phase {
			return i
		}
	}
	return -1
}

// firstAct is what follows from the journal and the board.
func (b *crashBox) firstAct(t *testing.T, boot board.Boot) string {
	t.Helper()
	j, _, err := b.openJournal()
	must(t, err)
	defer j.Close()
	s, err := j.Load()
	must(t, err)
	_, act := ota.Next(s.Update, ota.Booted{BootID: boot.ID, Slot: boot.Slot, Trial: boot.Trial})
	return string(act)
}

// end says what the history holds, the oldest first, and what runs.
func (b *crashBox) end(t *testing.T) string {
	t.Helper()
	if len(b.wrong) > 0 {
		return strings.Join(b.wrong, "; ")
	}
	must(t, writeFiles(b.dir, b.files))
	j, _, err := journal.Open(filepath.Join(b.dir, journalName), time.Now())
	must(t, err)
	defer j.Close()
	history, err := j.History(journal.MaxHistory)
	must(t, err)
	words := ""
	for _, o := range history {
		word := string(o.Result)
		if o.Failure != nil {
			word += " (" + string(o.Failure.Code) + ")"
		}
		if words != "" {
			word += " then "
		}
		words = word + words
	}
	if words == "" {
		words = "nothing"
	}
	return words + ", " + map[int64]string{1: "old", 2: "new"}[b.runs] + " runs"
}
