package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"otad/build/tooltest"
	"otad/cmd/internal/cli"
	"otad/ota/install"
	"otad/ota/swu"
)

// Debian's swupdate is the judge: each artifact of the matrix is given to it
// and to our engine, which must agree on whether it is good and on every byte
// that gets written.

// judged is one artifact of the matrix.
type judged struct {
	name string
	// description is the text of sw-description, in which {dev}, {dev2} and
	// {data} stand for the row's own places and {sha256:NAME} for the hash of
	// a payload.
	description string
	payloads    []payload
	newc        bool // cpio without check sums
	// sign makes the signature; nil: the usual signer's.
	sign func(t *testing.T, k *keyring, description []byte) []byte
	// archive changes the finished artifact; may be nil.
	archive func([]byte) []byte
	box     []string // board, revision, set, mode; nil: stv1 1.0 stable copy1
	good    bool     // what otad shall say
	late    bool     // it can be seen only after the slot was written
	second  bool     // it is for a box whose slots have two parts
	// differs names the section of docs/swupdate-compatibility.md that says
	// why SWUpdate does not say or write the same; empty: it does.
	differs string
}

type payload struct{ name, data string }

// outcome is what one program made of an artifact.
type outcome struct {
	good  bool
	files map[string]string // what lies in the row's places afterwards
	said  string
}

const (
	deviceBytes = 192 << 10
	// judgeKey is what `swupdate -K` and [swu.ParseKey] read.
	judgeKey = "390ad54490a4a5f53722291023c19e08ffb5c4677a59e958c96ffa6e641df040 d5d601bacfe13100b149177318ebc7a4"
)

// installed are the versions of the components of the judged box.
var installed = map[string]string{"app": "1.2.3", "kernel": "4.4"}

const judgeConfig = `globals : { loglevel = 5; };
versions : ( { name = "app"; version = "1.2.3"; }, { name = "kernel"; version = "4.4"; } );
`

func TestSwupdateAgrees(t *testing.T) {
	t.Parallel()
	tooltest.Path(t, "swupdate")
	tooltest.Path(t, "openssl")
	keys := newKeyring(t)
	rows := matrix()
	if len(rows) < 60 {
		t.Errorf("only %d artifacts", len(rows))
	}
	seen := map[string]bool{}
	trials := make([]*trial, len(rows))
	for i, row := range rows {
		if seen[row.name] {
			t.Errorf("row %q is there twice", row.name)
		}
		seen[row.name] = true
		trials[i] = newTrial(t, row, keys)
	}
	// A run of swupdate is a second of waiting: many wait together.
	var waiting sync.WaitGroup
	turns := make(chan struct{}, 24)
	for _, tr := range trials {
		waiting.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			tr.run()
		})
	}
	waiting.Wait()
	for _, tr := range trials {
		t.Run(tr.row.name, func(t *testing.T) {
			theirs := tr.judge(t)
			if err := tr.places.reset(); err != nil {
				t.Fatal(err)
			}
			compare(t, tr.row, tr.places.ours(t, keys, tr.file, tr.box, tr.row.second), theirs)
		})
	}
}

func compare(t *testing.T, row judged, ours, theirs outcome) {
	if ours.good != row.good {
		t.Errorf("otad: good is %t, want %t: %s", ours.good, row.good, ours.said)
	}
	var differences []string
	if ours.good != theirs.good {
		differences = append(differences, fmt.Sprintf("otad says %t, SWUpdate %t", ours.good, theirs.good))
	}
	// What a refused artifact left behind is nobody's business: otad has not
	// armed the slot, and SWUpdate has no such promise.
	if ours.good && theirs.good {
		for name, data := range ours.files {
			if theirs.files[name] != data {
				differences = append(differences, fmt.Sprintf("otad wrote %q with %d bytes, SWUpdate %d others", name, len(data), len(theirs.files[name])))
			}
		}
		for name := range theirs.files {
			if _, too := ours.files[name]; !too {
				differences = append(differences, fmt.Sprintf("only SWUpdate wrote %q", name))
			}
		}
	}
	switch {
	case row.differs == "" && len(differences) > 0:
		t.Errorf("%s\notad: %s\nSWUpdate:\n%s", strings.Join(differences, "\n"), ours.said, theirs.said)
	case row.differs != "" && len(differences) == 0:
		t.Errorf("there is no difference any more: take %q off the row and the page", row.differs)
	}
	if !ours.good && !row.late && ours.files["dev"] != strings.Repeat("\xee", deviceBytes) {
		t.Error("otad wrote to the slot before it refused")
	}
}

// The page lists exactly the differences that the matrix shows.
func TestCompatibilityPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/swupdate-compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^### (.+)$").FindAllSubmatch(page, -1) {
		listed[string(m[1])] = true
	}
	shown := map[string]bool{}
	for _, row := range matrix() {
		if row.differs != "" && !listed[row.differs] {
			t.Errorf("row %q: the page has no section %q", row.name, row.differs)
		}
		shown[row.differs] = true
	}
	for name := range listed {
		if !shown[name] {
			t.Errorf("the page has a section %q that no row shows", name)
		}
	}
}

// build packs the artifact of a row by hand, so that it may be wrong.
func (row judged) build(t *testing.T, keys *keyring, p places) []byte {
	t.Helper()
	pairs := []string{"{dev}", p.in("dev"), "{dev2}", p.in("dev2"), "{data}", p.in("data")}
	payloads := slices.Clone(row.payloads)
	for i, f := range payloads {
		if strings.HasPrefix(f.name, "s.") || strings.HasSuffix(f.name, ".sh") { // scripts name the places
			f.data = strings.NewReplacer(pairs[:6]...).Replace(f.data)
			payloads[i] = f
		}
		sum := sha256.Sum256([]byte(f.data))
		if f.name == "rootfs" {
			pairs = append(pairs, "{SHA}", strings.ToUpper(hex.EncodeToString(sum[:])))
		}
		pairs = append(pairs, "{sha256:"+f.name+"}", hex.EncodeToString(sum[:]), "{size:"+f.name+"}", fmt.Sprint(len(f.data)))
	}
	description := []byte(strings.NewReplacer(pairs...).Replace(row.description))
	sign := row.sign
	if sign == nil {
		sign = signedBy("release")
	}
	files := []payload{{swu.DescriptionName, string(description)}}
	if signature := sign(t, keys, description); signature != nil {
		files = append(files, payload{swu.SignatureName, string(signature)})
	}
	b := cpio(row.newc, append(files, payloads...))
	if row.archive != nil {
		b = row.archive(b)
	}
	return b
}

// cpio writes an archive as `cpio -o -H newc` or `-H crc` does.
func cpio(newc bool, files []payload) []byte {
	var b bytes.Buffer
	for _, f := range append(files[:len(files):len(files)], payload{"TRAILER!!!", ""}) {
		magic, sum := "070702", uint32(0)
		for _, c := range []byte(f.data) {
			sum += uint32(c)
		}
		if newc {
			magic, sum = "070701", 0
		}
		fmt.Fprintf(&b, "%s%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			magic, 7, 0o100644, 0, 0, 1, 0, len(f.data), 8, 1, 0, 0, len(f.name)+1, sum, f.name)
		b.Write(make([]byte, -b.Len()&3))
		b.WriteString(f.data)
		b.Write(make([]byte, -b.Len()&3))
	}
	b.Write(make([]byte, -b.Len()&511))
	return b.Bytes()
}

// places are where a row's artifact may be written to.
type places struct{ dir string }

func newPlaces(t *testing.T) places {
	t.Helper()
	p := places{t.TempDir()}
	if err := p.reset(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p places) in(name string) string { return filepath.Join(p.dir, name) }

func (p places) write(t *testing.T, name string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(p.in(name), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p.in(name)
}

// reset gives the places the content that they begin with.
func (p places) reset() error {
	empty := bytes.Repeat([]byte{0xee}, deviceBytes)
	return errors.Join(os.RemoveAll(p.in("data")), os.RemoveAll(p.in("tmp")),
		os.Mkdir(p.in("data"), 0o755), os.Mkdir(p.in("tmp"), 0o700),
		os.WriteFile(p.in("dev"), empty, 0o600), os.WriteFile(p.in("dev2"), empty, 0o600),
		os.WriteFile(p.in("data/old.conf"), []byte("old"), 0o600))
}

// contents reads all places.
func (p places) contents(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"dev", "dev2", "data"} {
		err := filepath.WalkDir(p.in(name), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(p.dir, path)
			if err != nil {
				return err
			}
			if d.Type()&fs.ModeSymlink != 0 {
				to, err := os.Readlink(path)
				files[rel] = "link to " + to
				return err
			}
			b, err := os.ReadFile(path)
			files[rel] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// trial is one artifact on its way through swupdate.
type trial struct {
	row    judged
	places places
	box    []string
	file   string
	theirs []string // the command
	out    []byte
	err    error
	again  error // of getting ready for another run
	inOwn  bool  // this thread has a network of its own
}

// alone is held by who runs swupdate without a network of its own.
var alone sync.Mutex

// run runs swupdate until it comes to a verdict. Its processes meet at a socket
// that has the same name on the whole network, so each run gets a network for
// itself where that is allowed, and runs alone where it is not. Sometimes it
// falls over itself: a crash every time is a verdict too.
func (tr *trial) run() {
	private := true
	for range 10 { // on a busy machine it crashes more than once
		if !tr.once(private) && private {
			private = false
			tr.once(private)
		}
		if bytes.Contains(tr.out, []byte("SWUPDATE successful")) || bytes.Contains(tr.out, []byte("*failed*")) {
			return
		}
		tr.again = errors.Join(tr.again, tr.places.reset())
	}
}

// once runs swupdate to its end and tells whether it could be started.
func (tr *trial) once(private bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, tr.theirs[0], tr.theirs[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), "TMPDIR="+tr.places.in("tmp")), tr.places.in("tmp")
	// Its processes outlive a crash of the first one, and its pipes.
	cmd.SysProcAttr, cmd.WaitDelay = &syscall.SysProcAttr{Setpgid: true}, 100*time.Millisecond
	switch {
	case tr.inOwn:
	case !private:
		alone.Lock()
		defer alone.Unlock()
	case os.Geteuid() == 0:
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	default:
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	}
	tr.out, tr.err = cmd.CombinedOutput()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // mostly nobody is left
	}
	return cmd.Process != nil
}

func newTrial(t *testing.T, row judged, keys *keyring) *trial {
	t.Helper()
	p := newPlaces(t)
	tr := &trial{row: row, places: p, box: row.box, file: p.write(t, "artifact.swu", row.build(t, keys, p))}
	if tr.box == nil {
		tr.box = []string{"stv1", "1.0", "stable", "copy1"}
	}
	tr.theirs = []string{"swupdate", "-v", "-M", "-f", p.write(t, "swupdate.cfg", []byte(judgeConfig)),
		"-k", keys.caFile, "-K", p.write(t, "aes.key", []byte(judgeKey+"\n")),
		"-H", tr.box[0] + ":" + tr.box[1], "-e", tr.box[2] + "," + tr.box[3], "-i", tr.file}
	return tr
}

// judge reads what swupdate said. Its exit code is not to be trusted: 2022.12
// says 1 after some successes.
func (tr *trial) judge(t *testing.T) outcome {
	t.Helper()
	var exit *exec.ExitError
	if tr.err != nil && !errors.As(tr.err, &exit) && !errors.Is(tr.err, exec.ErrWaitDelay) || tr.again != nil {
		t.Fatal(tr.err, tr.again)
	}
	return outcome{
		good:  bytes.Contains(tr.out, []byte("SWUPDATE successful")),
		files: tr.places.contents(t), said: fmt.Sprintf("  %v\n%s", tr.err, complaints(tr.out)),
	}
}

// complaints picks the lines that tell why, or the last ones.
func complaints(out []byte) string {
	var lines []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "ERROR") || strings.Contains(line, "WARN") && !strings.Contains(line, "mtd") || strings.Contains(line, "FAIL") || strings.Contains(line, "rror") {
			lines = append(lines, "  "+strings.TrimSpace(line))
		}
	}
	if len(lines) == 0 {
		return string(out[max(0, len(out)-2000):])
	}
	return strings.Join(lines, "\n")
}

// ours gives the artifact to otad's engine, as the agent does.
func (p places) ours(t *testing.T, keys *keyring, file string, box []string, second bool) outcome {
	t.Helper()
	err := p.install(t, keys, file, box, second)
	o := outcome{good: err == nil, files: p.contents(t), said: "done"}
	if err != nil {
		o.said = err.Error()
	}
	return o
}

func (p places) install(t *testing.T, keys *keyring, file string, box []string, second bool) error {
	t.Helper()
	ctx := context.Background()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	slot := openSlot(t, p.in("dev"))
	defer slot.Close()
	quiet := func(install.Stage, int64, int64) {}
	plan, err := install.Open(ctx, f, info.Size(), p.rules(t, keys, box, second), quiet)
	if err != nil {
		return err
	}
	image, err := plan.Write(ctx, slot, false, quiet)
	if err != nil || !plan.FillsSlot() {
		return err
	}
	return install.ReadBack(ctx, slot, image, quiet)
}

// rules are those of a box whose idle slot has a second part, if the artifact
// is for such a one.
func (p places) rules(t *testing.T, keys *keyring, box []string, second bool) install.Rules {
	key, err := swu.ParseKey([]byte(judgeKey))
	if err != nil {
		t.Fatal(err)
	}
	rules := install.Rules{
		Trust:     keys.trust,
		Selection: swu.Selection{Board: box[0], Revision: box[1], Set: box[2], Mode: box[3]},
		At:        time.Now(),
		Target:    install.Target{Name: "idle", Device: p.in("dev"), SizeBytes: deviceBytes},
		Around: install.Around{
			Directories: []install.Directory{{Path: p.in("data")}},
			Scripts:     install.Scripts{Dir: p.in("tmp/scripts"), Timeout: time.Minute, Env: []string{"PATH=" + os.Getenv("PATH")}},
			BootEnv:     anyVariables{}, Vars: p.in("tmp/vars"),
			Installed: func(name string) (string, bool) { v, ok := installed[name]; return v, ok },
			Key:       key,
		},
	}
	if second {
		rules.Around.Targets = []install.Target{{Name: "second", Device: p.in("dev2"), SizeBytes: deviceBytes}}
		rules.Around.OpenTarget = func(context.Context, string) (install.Medium, error) { return openSlot(t, p.in("dev2")), nil }
	}
	return rules
}

// anyVariables takes all.
type anyVariables struct{}

func (anyVariables) Check(string, swu.Variable) error                    { return nil }
func (anyVariables) Stage(context.Context, string, []swu.Variable) error { return nil }

// fileSlot is a slot in a file.
type fileSlot struct {
	*os.File
	size int64
}

func openSlot(t *testing.T, name string) fileSlot {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fileSlot{f, deviceBytes}
}

func (s fileSlot) Size() int64    { return s.size }
func (fileSlot) DropCache() error { return nil }

// What `otactl pack` makes passes `swupdate -c`, and swupdate installs it.
func TestSwupdateTakesOurs(t *testing.T) {
	t.Parallel()
	tooltest.Path(t, "swupdate")
	for _, tt := range []struct {
		name string
		more []string
	}{
		{"none", []string{"--compress", "none"}},
		{"zlib", []string{"--compress", "zlib"}},
		{"zstd", nil},
		{"zstd in JSON", []string{"--json-description"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, in := workshop(t, "rsa")
			p := newPlaces(t)
			args := packArgs(in, append(tt.more, "--revision", "1.0", "--device", "copy1="+p.in("dev2")+",copy2="+p.in("dev"), "-o", in("a.swu"))...)
			want(t, cli.Done, args...)
			image, err := os.ReadFile(in("rootfs.ext4"))
			if err != nil {
				t.Fatal(err)
			}
			for _, check := range []string{"-c", "-M"} {
				tr := &trial{row: judged{name: tt.name}, places: p, theirs: []string{"swupdate", "-v", check, "-k", in("keys/ca.pem"), "-H", "stv1:1.0", "-e", "stable,copy2", "-i", in("a.swu")}}
				tr.run()
				theirs := tr.judge(t)
				if !theirs.good {
					t.Fatalf("swupdate %s refuses it:\n%s", check, theirs.said)
				}
				if installed := strings.HasPrefix(theirs.files["dev"], string(image)); installed != (check != "-c") || strings.HasPrefix(theirs.files["dev2"], string(image)) {
					t.Errorf("swupdate %s: installed is %t", check, installed)
				}
			}
		})
	}
}
