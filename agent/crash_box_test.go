package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/board/sim"
	"otad/ota"
	"otad/ota/durable/crashfs"
	"otad/ota/journal"
	"otad/ota/swu"
)

const (
	crashSlotBytes = 3 << 20
	crashStaging   = "/staging"
	crashBoxDir    = "/box"

	// leftAlone is how long a box may work without a restart; longer than an
	// offer rests that failed for a reason that passes.
	leftAlone = 40 * time.Hour
	// maxPowerOns bounds the boots until an update is over, whatever happens.
	maxPowerOns = 14
)

// snapshot is a box without power, as it is found by the bootloader.
type snapshot struct {
	disk  *crashfs.Disk
	files map[string][]byte // of the state directory
	made  int               // durable calls before it
	floor string
}

// crashBox is a box whose power is cut at a durable call: slots, boot
// environment and staging on a disk in memory, the journal in a real file.
type crashBox struct {
	story *story
	power *crashfs.Power
	cuts  []crashfs.Cut
	disk  *crashfs.Disk
	dir   string // of the journal's files
	files map[string][]byte
	log   *slog.Logger

	powerOns  int
	snapshots []snapshot // at every power-on, when wanted
	keep      bool
	floor     string
	recovered int
	runs      int64 // version that otad ran in last
	byHand    bool  // somebody else put the board into its state: it need not fit the history
	wrong     []string
}

func (b *crashBox) violated(format string, args ...any) {
	b.wrong = append(b.wrong, fmt.Sprintf("boot %d: ", b.powerOns)+fmt.Sprintf(format, args...))
}

// newCrashBox stands where from says, with the cuts before it.
func newCrashBox(s *story, from snapshot, dir string, log *slog.Logger, cuts ...crashfs.Cut) *crashBox {
	b := &crashBox{story: s, cuts: cuts, dir: dir, files: maps.Clone(from.files), floor: from.floor, log: log}
	b.power = crashfs.NewPower(from.made, cuts...)
	b.disk = from.disk.Survive(crashfs.Lost, 0, b.power)
	return b
}

// factory is a box that runs version 1 from slot a and was never updated.
func factory() snapshot {
	disk := crashfs.New(crashfs.NewPower(0))
	err := sim.Create(disk, crashBoxDir, crashSlotBytes, "a", "b")
	if err == nil {
		err = disk.SyncDir("/")
	}
	if err != nil {
		panic(err)
	}
	disk.Put(crashBoxDir+"/slot-a.img", crashFirmware().images[1])
	return snapshot{disk: disk, files: map[string][]byte{}}
}

// setFactory is a box whose slots have a kernel beside their image.
func setFactory() snapshot {
	box := factory()
	if err := sim.AddPart(box.disk, crashBoxDir, "kernel", 512<<10); err != nil {
		panic(err)
	}
	for slot, content := range map[string][]byte{"a": crashFirmware().kernels[1], "b": make([]byte, 8)} {
		box.disk.Put(crashBoxDir+"/part-"+slot+"-kernel.img", append(content, make([]byte, 512<<10-len(content))...))
	}
	return box
}

// rescueFactory is a box with one system, in slot a, and a rescue system.
func rescueFactory() snapshot {
	box := factory()
	box.disk.Put(crashBoxDir+"/slot-b.img", crashFirmware().images[1])
	return box
}

// live lets the box live until its update is over or it violated something.
func (b *crashBox) live() ending {
	for calm := false; len(b.wrong) == 0; {
		if b.powerOns++; b.powerOns > maxPowerOns {
			b.violated("it does not come to rest")
			break
		}
		rested := b.boot(calm)
		b.restart()
		if rested && calm {
			break // nothing new in a second life: it is over
		}
		calm = rested
	}
	return b.ending()
}

// restart is a hard one: what was not synced is gone, or what the cut says.
func (b *crashBox) restart() {
	how, seed := crashfs.Lost, uint64(0)
	if cut := b.power.Took(); cut != nil {
		how, seed = cut.How, cut.Seed
		b.power.On()
	}
	b.disk = b.disk.Survive(how, seed, b.power)
	if b.keep {
		b.snapshots = append(b.snapshots, snapshot{b.disk.Survive(crashfs.Lost, 0, b.power), maps.Clone(b.files), b.power.Made(), b.floor})
	}
}

// boot is one life of the box, from power-on until the power goes, the box is
// restarted or nothing happens any more: then it is true.
func (b *crashBox) boot(calm bool) (rested bool) {
	machine, err := sim.NewMachine(b.disk, crashBoxDir)
	if err != nil {
		b.violated("the machine is gone: %v", err)
		return false
	}
	slot, image, err := machine.PowerOn()
	switch {
	case errors.Is(err, sim.ErrDead):
		b.violated("a brick: %v", err)
		return false
	case err != nil:
		return false // no power, or a fault of the medium: the watchdog starts it again
	}
	code := crashFirmware().identify(b.disk, image)
	if code == 0 {
		b.violated("slot %q is started and holds no whole image", slot)
		return false
	}
	kernel := crashFirmware().kernels[code]
	if b.story.parts && !holds(b.disk, machine.PartPath(slot, "kernel"), kernel) {
		b.violated("slot %q is started with version %d and another kernel", slot, code)
		return false
	}
	driver, err := sim.Open(b.story.driver(b.disk), crashBoxDir)
	if err != nil {
		b.violated("the board is gone: %v", err)
		return false
	}
	b.checkDefault(driver)
	if !b.story.starts(code) {
		return false // it hangs until the watchdog bites
	}
	return b.otad(driver, code, calm)
}

// otad is the life of the agent in the system code.
func (b *crashBox) otad(driver *sim.Board, code int64, calm bool) (rested bool) {
	b.runs = code
	j, recovered, err := b.openJournal()
	if err != nil {
		if !planned(err) {
			b.violated("the journal does not open: %v", err)
		}
		return false
	}
	defer j.Close()
	if recovered != nil {
		b.recovered++
	} else {
		b.checkPromises(j)
	}
	fsys := b.story.fs(b.disk)
	ctx, cancel := context.WithTimeout(context.Background(), leftAlone)
	defer cancel()
	b.power.WhenLost(cancel)
	c := crashConfig()
	if b.story.streamed {
		c.Download.Mode = config.ModeStreamed
	}
	c.Board.Rescue = b.story.rescue
	a, err := New(Parts{
		Config: c, Journal: b.story.journal(&crashJournal{Journal: j, box: b}), Recovered: recovered,
		Board: b.story.board(crashBoard{driver, b.story.healthy(code)}), FS: fsys,
		Server: b.story.server(), Fetcher: crashFetcher{fsys}, Streamer: crashStreamer{}, Piecer: &crashPiecer{}, Trust: func() (*swu.Trust, error) { return crashFirmware().trust, nil },
		Running: ota.Version{Code: code, Name: fmt.Sprintf("v%d", code)},
		Clock:   crashClock(), Log: b.log, Version: "test", Poll: b.story.says == "",
	})
	if err != nil {
		b.violated("the agent does not start: %v", err)
		return false
	}
	asked := b.person(ctx, a)
	err = a.Run(ctx)
	cancel()
	<-asked
	if b.power.Took() != nil {
		return false
	}
	b.checkDefault(driver)
	b.checkJournal(j, calm && errors.Is(err, context.DeadlineExceeded))
	switch {
	case errors.Is(err, ErrRebooting):
		return false
	case a.rec.Phase != ota.PhaseIdle:
		b.violated("it hangs in phase %s: %+v", a.rec.Phase, a.State())
	case calm:
		b.checkRest(a)
	}
	return true
}

// person says the verb of the story once the box is at rest, and again when
// nothing came of it. The channel is closed when the person is gone.
func (b *crashBox) person(ctx context.Context, a *Agent) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for wait := time.Minute; b.story.says != "" && sleep(ctx, wait); wait = time.Hour {
			if s := a.State(); s.Phase == ota.PhaseIdle && (s.Last == nil || !s.Last.Back) {
				// Not through Do: its line in the audit is written beside the loop, and
				// the calls of a story come in one order only.
				a.do(ctx, control.Request{V: control.Version, Verb: b.story.says, By: "test", Args: control.Args{Now: true}})
			}
		}
	}()
	return gone
}

func crashConfig() *config.Config {
	c := config.Default()
	c.Device = config.Device{Model: testModel, Key: "02:00:00:00:00:01", Revision: "1.0"}
	c.Download.Dir, c.Download.Checkpoint = crashStaging, crashCheckpoint
	c.Health.Hooks = "/nowhere"
	return &c
}

// crashClock tells a time at which the certificates are valid: in a bubble it
// is the year 2000.
func crashClock() *Clock {
	ahead := time.Until(crashFirmware().at)
	return &Clock{Local: func() time.Time { return time.Now().Add(ahead) }}
}

// ending is how a life ended.
type ending struct {
	kind      string
	powerOns  int
	recovered int
	wrong     []string
	reached   bool // all cuts
	calls     []crashfs.Call
}

// lies tells whether the medium is to lie about what it keeps.
func (b *crashBox) lies() bool {
	return slices.ContainsFunc(b.cuts, func(c crashfs.Cut) bool { return c.How == crashfs.Rot })
}

func (b *crashBox) ending() ending {
	e := ending{powerOns: b.powerOns, recovered: b.recovered, wrong: b.wrong, reached: b.power.Left() == 0}
	if len(e.wrong) > 0 {
		e.kind = "violation"
		return e
	}
	j, _, err := journal.Open(filepath.Join(b.dir, journalName), time.Now())
	if err != nil {
		return ending{kind: "violation", wrong: []string{err.Error()}}
	}
	defer j.Close()
	history, err := j.History(journal.MaxHistory)
	if err != nil || len(history) == 0 {
		e.kind = "nothing happened"
		return e
	}
	last := history[0]
	e.kind = string(last.Result)
	if last.Failure != nil {
		e.kind += ": " + string(last.Failure.Code)
	}
	if len(history) > 1 && history[1].Offer.VersionCode == last.Offer.VersionCode && history[1].By == last.By {
		e.kind += ", at a later attempt"
	}
	return e
}

// crashLog is read by those who replay a state.
func crashLog(t *testing.T, aloud bool) *slog.Logger {
	if !aloud {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// sorted names of files, for messages.
func namesOf(files map[string][]byte) string {
	return strings.Join(slices.Sorted(maps.Keys(files)), " ")
}
