package main_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"otad/agent/config"
	"otad/agent/report"
	"otad/board/uboot/uboottest"
	"otad/cmd/internal/cli"
	"otad/cmd/otalab/lab"
	"otad/ota"
	"otad/transport/download/downloadtest"
	"otad/transport/mqtt/mqtttest"
)

// What becomes of a system once it is started.
const (
	good = "confirmed"
	sick = "rolled-back: unhealthy"
	dead = "rolled-back: never-came-up"
)

// killBoards are the boards of TestKillRounds.
var killBoards = []struct {
	name string
	make func(t *testing.T, s *site, edit func(*config.Config)) *box
}{
	{"sim", func(t *testing.T, s *site, edit func(*config.Config)) *box { return newBoxOf(t, s, slotBytes, edit) }},
	{"uboot boot-order, redundant on a device", func(t *testing.T, s *site, edit func(*config.Config)) *box {
		return newUBootBox(t, s, slotBytes, "boot-order", []uboottest.Region{{File: "dev/mmcblk0", Offset: 0x2000}, {File: "dev/mmcblk0", Offset: 0x6000}}, edit)
	}},
	{"uboot boot-count, one file", func(t *testing.T, s *site, edit func(*config.Config)) *box {
		return newUBootBox(t, s, slotBytes, "boot-count", []uboottest.Region{{File: "boot/uboot.env"}}, edit)
	}},
}

// TestKillRounds lets boxes live through update after update, with the lab's
// server and a mosquitto, while otad is killed with SIGKILL at random instants
// and the power cut now and then: 8 rounds on each board, KILL_ROUNDS of them
// when that is set. KILL_SEED plays the same rounds again; the instants are the
// same counted from the start of otad or from a phase of the update, so what
// they hit depends on the machine.
func TestKillRounds(t *testing.T) {
	t.Parallel()
	rounds, err := strconv.Atoi(envOr("KILL_ROUNDS", "8"))
	must(t, err)
	seed, err := strconv.ParseUint(envOr("KILL_SEED", fmt.Sprint(time.Now().UnixNano())), 10, 64)
	must(t, err)
	t.Logf("again: KILL_SEED=%d KILL_ROUNDS=%d go test -v -run TestKillRounds ./cmd/otad", seed, rounds)
	broker := mqtttest.NewMosquitto(t, mqtttest.Config{})
	o := newOperator(t, broker)
	for i, kind := range killBoards {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			device := fmt.Sprintf("02:00:00:00:01:%02x", i)
			site := newLabSite(t)
			k := &victim{site: site, random: rand.New(rand.NewPCG(seed, uint64(i))), permanent: 1,
				systems: map[int64]system{1: {code: 1}}, kills: map[string]int{}, endings: map[string]int{}}
			k.box = kind.make(t, site, func(c *config.Config) {
				c.Device.Key = device
				c.Policy.CheckEvery = config.Duration(20 * time.Millisecond)
				c.MQTT.Brokers = []string{broker.URL()}
			})
			k.box.booted = k.wantWhole
			for n := range rounds {
				k.round(int64(n) + 2)
			}
			k.wantTold(&operator{t: t, seen: o.seen}, report.Topics{Prefix: "otad", Model: model, Device: device})
			t.Logf("%d rounds, %d kills, %d of them with the power: %v; %d boots; %v", rounds, sum(k.kills), k.cuts, k.kills, k.boots, k.endings)
		})
	}
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func sum(counts map[string]int) (n int) {
	for c := range maps.Values(counts) {
		n += c
	}
	return n
}

// newLabSite is a site made of the lab's own server.
func newLabSite(t *testing.T) *site {
	t.Helper()
	l, err := lab.Start(lab.Options{Dir: t.TempDir(), CA: authority().CA})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return &site{api: l.API, host: l.Host, url: l.URL}
}

// victim is a box whose otad is killed, and what is known of it.
type victim struct {
	*box
	site      *site
	random    *rand.Rand
	systems   map[int64]system // that were published
	permanent int64            // the version that the box falls back to
	trying    int64            // the version that it is updated to
	floor     int64

	kills   map[string]int // by the phase that they hit
	cuts    int
	boots   int
	endings map[string]int
}

// round is one update, from the offer to its outcome.
func (k *victim) round(code int64) {
	k.t.Helper()
	fates := []string{good, good, sick, dead}
	fate := fates[k.random.IntN(len(fates))]
	sys := system{code: code, health: map[string]string{good: "sleep 0.03", sick: "sleep 0.03; exit 1", dead: hangs}[fate]}
	k.systems[code], k.trying = sys, code
	k.site.release(k.t, sys).Set(downloadtest.Faults{Rate: 8 << 20})
	for n := range 1 + k.random.IntN(3) {
		// Two power cuts leave the new system one try.
		k.strike(n < 2 && k.random.IntN(2) == 0)
	}
	last, service := k.live(ended(code))
	if k.random.IntN(2) == 0 {
		service.kill()
	} else {
		service.stop().want(cli.Done)
	}

	ending := string(last.Last.Result)
	if f := last.Last.Failure; f != nil {
		ending += ": " + string(f.Code)
	}
	k.endings[ending]++
	if ending != fate {
		k.t.Errorf("version %d: the update ended %q, want %q: %+v", code, ending, fate, last.Last.Failure)
	}
	if fate == good {
		k.permanent = code
	}
	k.trying = 0
	floor, _ := strconv.ParseInt(last.Floor, 10, 64) // "" before the first one
	if floor < k.floor || fate == good && floor != code {
		k.t.Errorf("version %d: the floor was %d and is %q", code, k.floor, last.Floor)
	}
	k.floor = floor
	// The bootloader agrees: the permanent choice is what it starts. Once only:
	// one that counts every boot is told by otad that the system came up.
	k.boot()
}

// wantWhole looks at what a bootloader started.
func (k *victim) wantWhole(slot string) {
	k.t.Helper()
	k.boots++
	text, _, _ := strings.Cut(string(k.read(k.path("version"))), " ")
	code, err := strconv.ParseInt(text, 10, 64)
	sys, known := k.systems[code]
	switch {
	case err != nil, !known, !k.holds(slot, sys.image()):
		k.t.Fatalf("slot %s is started and holds no whole system (%q)", slot, text)
	case code != k.permanent && code != k.trying:
		k.t.Fatalf("slot %s is started with version %d, but %d is the permanent one", slot, code, k.permanent)
	}
}

// strikeAt are the phases from which instants are counted; "" is the start.
var strikeAt = []ota.Phase{"", "", ota.PhaseDownloading, ota.PhaseDownloaded, ota.PhaseInstalling, ota.PhaseInstalled,
	ota.PhaseArmed, ota.PhaseTrial, ota.PhaseConfirmed, ota.PhaseRolledBack}

// strike starts otad and kills it at a random instant; then it is started
// again by whoever calls. With cut the power goes too.
func (k *victim) strike(cut bool) {
	k.t.Helper()
	phase := strikeAt[k.random.IntN(len(strikeAt))]
	roll := k.random.Float64()
	delay := time.Duration(roll * roll * roll * float64(80*time.Millisecond)) // most soon after it began
	if phase == "" {
		delay = time.Duration(roll * float64(600*time.Millisecond))
	}
	s := k.start()
	var due <-chan time.Time
	if phase == "" {
		due = time.After(delay)
	}
	late := time.After(time.Second) // the phase is over, or never comes
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if due == nil && entered(s.log.String(), phase) {
				due = time.After(delay)
			}
			continue
		case <-s.ended:
			if k.rebootWanted() == "" {
				k.t.Fatalf("otad run ended by itself with %d:\n%s", s.result.code, s.log.String())
			}
			k.boot()
			s = k.start()
			continue
		case <-late:
		case <-due:
		}
		s.kill()
		k.kills[phaseOf(s.log.String())]++
		if cut {
			k.cuts++
		}
		if cut || k.rebootWanted() != "" {
			k.boot()
		}
		return
	}
}

// entered tells whether a log says that a phase began.
func entered(log string, p ota.Phase) bool {
	return strings.Contains(log, " phase="+string(p)+" ") || strings.Contains(log, " phase="+string(p)+"\n")
}

// wantTold waits until the operator was told of every update, and checks that
// there is one outcome for each: in the history, and among the events.
func (k *victim) wantTold(o *operator, topics report.Topics) {
	k.t.Helper()
	s := k.start()
	ended := map[string]ota.Outcome{}
	history := decode[[]ota.Outcome](k.ask(s))
	for _, out := range history {
		if _, twice := ended[out.ID]; twice {
			k.t.Errorf("update %s is in the history twice", out.ID)
		}
		ended[out.ID] = out
	}
	last := history[0]
	await(o, topics.Event(), func(e report.Event) bool { return e.Type == report.EventOutcome && e.Update == last.ID })
	s.stop().want(cli.Done)

	ids, outcomes, versions := map[string]bool{}, map[string]ota.Phase{}, map[int64]int{}
	for _, e := range messages[report.Event](o, topics.Event()) {
		switch {
		case ids[e.ID]: // again, as QoS 1 may
		case e.Type == report.EventJournalRecovered:
			k.t.Errorf("the journal was damaged: %s", e.Text)
		case e.Type == report.EventOutcome:
			if was := outcomes[e.Update]; was != "" {
				k.t.Errorf("update %s ended as %s and as %s", e.Update, was, e.Outcome.Result)
			}
			if out, kept := ended[e.Update]; kept && out.Result != e.Outcome.Result {
				k.t.Errorf("update %s is told as %s and kept as %s", e.Update, e.Outcome.Result, out.Result)
			}
			outcomes[e.Update] = e.Outcome.Result
			versions[e.Outcome.Offer.VersionCode]++
		}
		ids[e.ID] = true
	}
	for code := range k.systems {
		if code != 1 && versions[code] != 1 {
			k.t.Errorf("version %d has %d outcomes", code, versions[code])
		}
	}
	for id := range ended {
		if outcomes[id] == "" {
			k.t.Errorf("nobody was told how update %s ended", id)
		}
	}
}

// ask asks a running service for its history.
func (k *victim) ask(s *service) result {
	k.t.Helper()
	s.client()
	return k.otad("history", "--json").want(cli.Done)
}
