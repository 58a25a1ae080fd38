package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/agent/config"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/swu"
	"otad/ota/swu/swutest"
	"otad/transport/download/downloadtest"
)

// The fault matrix: what other installers were put through, with an image of
// the same size. docs/reliability.md has what came of it, theirs and ours.
const (
	fullBytes = 160 << 20
	fullRate  = 60_000_000 // bytes a second
	half      = 84_000_000
)

// lighter is what sizes and waits are divided by: 1 in `make faults`.
var lighter = func() int64 {
	if os.Getenv("FAULT_MATRIX") == "full" {
		return 1
	}
	return 10
}()

// heavyBytes is the size of the image, heavyCheckpoint how much of it lies
// between two marks.
var (
	heavyBytes      = fullBytes / lighter
	heavyCheckpoint = config.Default().Download.Checkpoint / config.Size(lighter)
)

// lightly is the line as it is this time; it may be dead for good.
func (f networkFault) lightly() downloadtest.Line {
	line := f.line
	line.After /= lighter
	line.Silent /= time.Duration(lighter)
	if !f.dead {
		line.Away /= time.Duration(lighter)
	}
	return line
}

// lightRetries makes the waits between attempts those of the default settings, as
// light as everything else.
func lightRetries(c *config.Config) {
	d := config.Default().Download
	c.Download.RetryFirst, c.Download.RetryMax = d.RetryFirst/config.Duration(lighter), d.RetryMax/config.Duration(lighter)
}

// mode is a way in which firmware comes in. Every case is tried in each.
type mode struct {
	name string
	set  string // download.mode
	// verified: nothing is written to the slot before everything is verified.
	verified bool
	// connections that an attempt makes in a row without getting further
	connections int
	gaps        []time.Duration // between two installs
}

var modes = []mode{
	{"staged", config.ModeStaged, true, 1, []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond}},
	{"streamed", config.ModeStreamed, false, 6, []time.Duration{500 * time.Millisecond}},
}

func (m mode) edit(c *config.Config) { c.Download.Mode = m.set }

// networkFault is a trouble of the line to the firmware host.
type networkFault struct {
	name string
	line downloadtest.Line
	dead bool // there is no way: it must end, with an error, in time
}

var networkFaults = []networkFault{
	{"reset, away 25 s", downloadtest.Line{After: half, Times: 1, Reset: true, Away: 25 * time.Second}, false},
	{"reset at half", downloadtest.Line{After: half, Times: 1, Reset: true}, false},
	{"closed at half", downloadtest.Line{After: half, Times: 1}, false},
	{"reset, away 5 s", downloadtest.Line{After: half, Times: 1, Reset: true, Away: 5 * time.Second}, false},
	{"reset three times", downloadtest.Line{After: 40_000_000, Times: 3, Reset: true}, false},
	{"reset eight times", downloadtest.Line{After: 15_000_000, Times: 8, Reset: true}, false},
	{"silent for 10 s", downloadtest.Line{After: half, Times: 1, Silent: 10 * time.Second}, false},
	{"503 twice", downloadtest.Line{Busy: 2}, false},
	{"dead for good at half", downloadtest.Line{After: half, Times: 1, Reset: true, Away: time.Hour}, true},
}

// Retries of the case that is hopeless. For all others they are the defaults.
var (
	retryFirst = 200 * time.Millisecond / time.Duration(lighter)
	retryMax   = 2 * time.Second / time.Duration(lighter)
)

// artifactHead is how much a stream reads of an artifact to know where to go on.
const artifactHead = 64 << 10

// deadline is how long otad may go on after the last byte: the longest waits
// between as many attempts as there are, and between the connections of each.
func deadline(connections int) time.Duration {
	waits := func(n int) (sum time.Duration) {
		for i := 1; i < n; i++ {
			sum += ota.Backoff(i, retryFirst, retryMax, 1)
		}
		return sum
	}
	return waits(ota.MaxAttempts) + ota.MaxAttempts*waits(connections)
}

// heavy is what the matrix installs: files on a medium that does not slow the
// tests down.
type heavy struct {
	dir   string
	good  string // the artifact
	sum   [sha256.Size]byte
	bytes int64 // of the artifact
	turn  chan struct{}
	mu    sync.Mutex
	rows  []string
}

func newHeavy(t *testing.T) *heavy {
	t.Helper()
	dir := ""
	if free, err := durable.FreeBytes("/dev/shm"); err == nil && free > 4<<30 {
		dir = "/dev/shm"
	}
	dir, err := os.MkdirTemp(dir, "matrix")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &heavy{dir: dir, good: filepath.Join(dir, "good.swu"), turn: make(chan struct{}, 5)}
	h.pack(t, h.good, authority())
	hash := sha256.New()
	_, err = io.Copy(hash, h.image())
	must(t, err)
	hash.Sum(h.sum[:0])
	info, err := os.Stat(h.good)
	must(t, err)
	h.bytes = info.Size()
	return h
}

func (h *heavy) image() *io.SectionReader {
	return io.NewSectionReader(downloadtest.Pattern(heavyBytes, 2), 0, heavyBytes)
}

func (h *heavy) pack(t *testing.T, name string, a swutest.Authority) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	must(t, a.Pack(f, model, "2", h.image()))
	must(t, f.Close())
}

// packWrong makes an artifact whose signed description has a wrong hash.
func (h *heavy) packWrong(t *testing.T, name string) {
	t.Helper()
	wrong := sha256.Sum256([]byte("another image"))
	text := fmt.Appendf(nil, `software = { version = "2"; hardware-compatibility = ["#RE:.*"];
		images: ( { filename = "rootfs.img"; sha256 = "%s"; } ); }`, hex.EncodeToString(wrong[:]))
	signature, err := authority().Signer.Sign(text)
	must(t, err)
	var head, tail bytes.Buffer
	writeEntry(&head, swu.DescriptionName, text)
	writeEntry(&head, swu.SignatureName, signature)
	writeHeader(&head, "rootfs.img", heavyBytes)
	writeEntry(&tail, "TRAILER!!!", nil)
	f, err := os.Create(name)
	must(t, err)
	_, err = io.Copy(f, io.MultiReader(&head, h.image(), &tail))
	must(t, err)
	must(t, f.Close())
}

// note keeps a row for the table.
func (h *heavy) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rows = append(h.rows, fmt.Sprintf(format, args...))
}

// matrixBox is a box whose slot holds the image, and whose way to the host is
// a proxy.
type matrixBox struct {
	*box
	heavy     *heavy
	site      *site
	proxy     *downloadtest.Proxy
	untouched bool // a refused artifact leaves the slot as it was
}

func (h *heavy) newBox(t *testing.T, slotBytes int64, line downloadtest.Line, edit ...func(*config.Config)) *matrixBox {
	t.Helper()
	s := newSite(t)
	content, err := downloadtest.Disk(h.good)
	must(t, err)
	t.Cleanup(func() { content.ReaderAt.(*os.File).Close() })
	s.host.Add("/fw/2.swu", content)
	if line.Rate == 0 {
		line.Rate = fullRate
	}
	proxy, err := downloadtest.NewProxy(strings.TrimPrefix(s.url, "http://"), line)
	must(t, err)
	t.Cleanup(func() { proxy.Close() })
	s.offer(2, proxy.URL()+"/fw/2.swu")
	m := &matrixBox{heavy: h, site: s, proxy: proxy}
	m.box = newBoxIn(t, h.dir, s, slotBytes, append([]func(*config.Config){func(c *config.Config) {
		lightRetries(c)
		c.Download.Checkpoint = heavyCheckpoint
	}}, edit...)...)
	return m
}

// run is otad with patience for what is heavy.
func (m *matrixBox) run(args ...string) (result, time.Duration) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	r := m.finish(m.command(ctx, args...))
	return r, time.Since(began)
}

// wantInstalled: the slot holds the image, is armed, and nothing is left.
func (m *matrixBox) wantInstalled(r result) {
	m.t.Helper()
	r.want(cli.RebootNeeded)
	c := m.condition()
	if c.boot.Next != "b" || c.slots[1] != m.heavy.sum {
		m.t.Errorf("slot %s is next; slot b holds the image: %t", c.boot.Next, c.slots[1] == m.heavy.sum)
	}
}

// wantRefused: it ended with an error that is told, the old system is what is
// started next, and, where all is verified first, the slot is as it was.
func (m *matrixBox) wantRefused(r result, before condition, exit int, code ota.Code) {
	m.t.Helper()
	r.want(exit, "cannot ")
	after := m.condition()
	if after.boot != before.boot || m.untouched && after != before {
		m.t.Errorf("the box was changed:\n%+v\nbefore\n%+v", after, before)
	}
	if left := m.staged(); len(left) > 0 {
		m.t.Errorf("left in staging: %q", left)
	}
	if reason := m.rebootWanted(); reason != "" {
		m.t.Errorf("otad asks for a restart: %s", reason)
	}
	s := m.status()
	if s.Phase != ota.PhaseIdle || s.Last == nil || s.Last.Failure == nil || s.Last.Failure.Code != code {
		m.t.Errorf("phase %s, last update %+v, want code %s\n%s", s.Phase, s.Last, code, r.stderr)
	}
}

// TestFaultMatrix puts otad through it.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	h := newHeavy(t)
	t.Run("cases", func(t *testing.T) {
		for _, mode := range modes {
			for _, f := range networkFaults {
				h.try(t, f.name+", "+mode.name, func(t *testing.T) {
					h.network(t, mode, f)
				})
			}
			h.try(t, "no space in staging, "+mode.name, func(t *testing.T) { h.noStaging(t, mode) })
			h.try(t, "slot smaller than the image, "+mode.name, func(t *testing.T) { h.smallSlot(t, mode) })
			for _, gap := range mode.gaps {
				h.try(t, fmt.Sprintf("two at once after %s, %s", gap, mode.name), func(t *testing.T) { h.two(t, mode, gap) })
			}
		}
		for _, d := range damages {
			h.try(t, d.name, func(t *testing.T) { h.damaged(t, d.name, d.make, d.exit, d.code) })
		}
	})
	slices.Sort(h.rows)
	t.Logf("\n%s", strings.Join(h.rows, "\n"))
}

// try runs a case when it is its turn: each of them needs room for two images.
func (h *heavy) try(t *testing.T, name string, do func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		h.turn <- struct{}{}
		defer func() { <-h.turn }()
		do(t)
	})
}

func (h *heavy) network(t *testing.T, mode mode, f networkFault) {
	m := h.newBox(t, heavyBytes, f.lightly(), mode.edit, func(c *config.Config) {
		if f.dead {
			c.Download.RetryFirst, c.Download.RetryMax = config.Duration(retryFirst), config.Duration(retryMax)
		}
	})
	m.untouched = mode.verified
	before := m.condition()
	r, took := m.run("upgrade", "--yes")
	sum, ranges := int64(0), []string{}
	for _, p := range m.proxy.Passed() {
		sum += p.BodyBytes
		ranges = append(ranges, fmt.Sprint(p.BodyBytes))
	}
	verdict := "ok"
	if f.dead {
		verdict = "fails"
		m.wantRefused(r, before, cli.Failed, ota.CodeDownloadNetwork)
		if limit := deadline(mode.connections) + patience; took > limit {
			t.Errorf("it took %s to give up, want %s", took, limit)
		}
	} else {
		m.wantInstalled(r)
		// A stream that gave up all its connections goes on at its last mark;
		// whatever gave up none fetches no byte twice.
		again := int64(0)
		if !mode.verified && strings.Contains(r.stderr, "act failed") {
			again = int64(heavyCheckpoint) + artifactHead
		}
		if sum < h.bytes || sum > h.bytes+again {
			t.Errorf("%d bytes were fetched of %d: %q", sum, h.bytes, ranges)
		}
	}
	h.note("| %s | %s | %s | %.1f s | %d again | %d |", f.name, mode.name, verdict, took.Seconds(), max(0, sum-h.bytes), len(ranges))
}

// damages are what may be wrong with an artifact.
var damages = []struct {
	name string
	make func(t *testing.T, h *heavy, name string)
	exit int
	code ota.Code
}{
	{"cut at half", cutTo(func(n int64) int64 { return n / 2 }), cli.Failed, ota.CodeArtifactDamaged},
	{"cut by 64 KiB", cutTo(func(n int64) int64 { return n - 64<<10 }), cli.Failed, ota.CodeArtifactDamaged},
	{"a bit flipped at half", flipAt(func(n int64) int64 { return n / 2 }), cli.Failed, ota.CodeArtifactDamaged},
	{"a bit flipped at byte 1200", flipAt(func(int64) int64 { return 1200 }), cli.Failed, ota.CodeArtifactDamaged},
	{"empty", cutTo(func(int64) int64 { return 0 }), cli.Failed, ota.CodeArtifactDamaged},
	{"signed by an untrusted key", func(t *testing.T, h *heavy, name string) {
		other, err := swutest.NewAuthority()
		must(t, err)
		h.pack(t, name, other)
	}, cli.NotTrusted, ota.CodeArtifactUntrusted},
	{"wrong sha256 under a good signature", func(t *testing.T, h *heavy, name string) { h.packWrong(t, name) }, cli.NotTrusted, ota.CodeArtifactHash},
}

// copied makes a file like the good artifact.
func (h *heavy) copied(t *testing.T, name string) (f *os.File) {
	t.Helper()
	good, err := os.Open(h.good)
	must(t, err)
	defer good.Close()
	f, err = os.Create(name)
	must(t, err)
	_, err = io.Copy(f, good)
	must(t, err)
	return f
}

func cutTo(size func(whole int64) int64) func(*testing.T, *heavy, string) {
	return func(t *testing.T, h *heavy, name string) {
		f := h.copied(t, name)
		must(t, f.Truncate(size(h.bytes)))
		must(t, f.Close())
	}
}

func flipAt(at func(whole int64) int64) func(*testing.T, *heavy, string) {
	return func(t *testing.T, h *heavy, name string) {
		f := h.copied(t, name)
		var b [1]byte
		_, err := f.ReadAt(b[:], at(h.bytes))
		must(t, err)
		b[0] ^= 1
		_, err = f.WriteAt(b[:], at(h.bytes))
		must(t, err)
		must(t, f.Close())
	}
}

// damaged tries an artifact from a file and from the host: it is refused.
func (h *heavy) damaged(t *testing.T, name string, make func(*testing.T, *heavy, string), exit int, code ota.Code) {
	bad := filepath.Join(h.dir, strings.ReplaceAll(name, " ", "-")+".swu")
	make(t, h, bad)
	defer os.Remove(bad)
	m := h.newBox(t, heavyBytes, downloadtest.Line{})
	m.untouched = true
	before := m.condition()
	r, took := m.run("install", bad, "--yes")
	m.wantRefused(r, before, exit, code)
	h.note("| %s | file | refused: %s | %.1f s | | |", name, code, took.Seconds())

	content, err := downloadtest.Disk(bad)
	must(t, err)
	defer content.ReaderAt.(*os.File).Close()
	m.site.host.Add("/fw/2.swu", content)
	for _, mode := range modes {
		m.configure(mode.edit)
		m.untouched = mode.verified
		r, took := m.run("install", m.proxy.URL()+"/fw/2.swu", "--yes")
		want := code
		if content.SizeBytes == 0 {
			want = ota.CodeDownloadNetwork // it may be the line: tried again, as often as there are attempts
		}
		m.wantRefused(r, before, exit, want)
		h.note("| %s | %s | refused: %s | %.1f s | | |", name, mode.name, want, took.Seconds())
	}
}

// noStaging gives the staging directory an eighth of what it would need.
func (h *heavy) noStaging(t *testing.T, mode mode) {
	m := h.newBox(t, heavyBytes, downloadtest.Line{}, mode.edit)
	m.untouched = true
	before := m.condition()
	room := heavyBytes / 8
	m.mountStaging(itoa(int(room)))
	r, took := m.run("upgrade", "--yes")
	if !mode.verified {
		m.wantInstalled(r)
		h.note("| %d MiB for staging | %s | ok | %.1f s | | |", room>>20, mode.name, took.Seconds())
		return
	}
	m.wantRefused(r, before, cli.Failed, ota.CodeNoSpace)
	if passed := m.proxy.Passed(); len(passed) > 1 || passed[0].BodyBytes > 1<<20 {
		t.Errorf("it was fetched all the same: %+v", passed)
	}
	h.note("| %d MiB for staging | %s | refused: %s | %.1f s | | |", room>>20, mode.name, ota.CodeNoSpace, took.Seconds())
}

// smallSlot gives the box slots of two fifths of the image.
func (h *heavy) smallSlot(t *testing.T, mode mode) {
	size := heavyBytes * 2 / 5 &^ 4095
	m := h.newBox(t, size, downloadtest.Line{}, mode.edit)
	m.untouched = true
	before := m.condition()
	r, took := m.run("upgrade", "--yes")
	m.wantRefused(r, before, cli.Failed, ota.CodeImageTooLarge)
	h.note("| slot of %d MiB | %s | refused: %s | %.1f s | | |", size>>20, mode.name, ota.CodeImageTooLarge, took.Seconds())
}

// two starts a second install while the first one runs.
func (h *heavy) two(t *testing.T, mode mode, gap time.Duration) {
	m := h.newBox(t, heavyBytes, downloadtest.Line{Rate: fullRate / lighter}, mode.edit)
	three := system{code: 3}
	url, _ := m.site.serve("3.swu", three.artifact(t))
	results := make(chan result, 1)
	pid := make(chan int, 1)
	go func() {
		cmd := m.command(t.Context(), "install", m.proxy.URL()+"/fw/2.swu", "--yes")
		var stdout, stderr tape
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.Start() // that it fails is seen in the exit code
		pid <- cmd.Process.Pid
		cmd.Wait()
		results <- result{t, cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	}()
	first := <-pid
	time.Sleep(gap) // the case itself: what the second one meets is the first one's business
	second, _ := m.run("install", url, "--yes")
	one := <-results
	c := m.condition()
	switch {
	case second.code == cli.Locked:
		second.want(cli.Locked, "cannot lock", "process "+itoa(first))
		m.wantInstalled(one)
	case gap == 0: // the second one was faster
		one.want(cli.Locked, "cannot lock")
		second.want(cli.RebootNeeded)
		if c.boot.Next != "b" || !m.holds("b", three.image()) {
			t.Errorf("slot %s is next", c.boot.Next)
		}
	default:
		t.Errorf("the second one ended with %d\n%s", second.code, second.stderr)
	}
	h.note("| two at once, after %s | %s | second is told who holds the lock: %t | | | |", gap, mode.name, second.code == cli.Locked)
}
