package install

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"otad/ota"
	"otad/ota/swu"
)

// entry is a payload for pack.
type entry struct{ name, data string }

// packAround makes a signed artifact of an image for the slot, further images,
// other sections, and the payloads of all. SUM:NAME stands for the hash of one.
func packAround(t testing.TB, image []byte, images, sections string, entries ...entry) []byte {
	t.Helper()
	entries = append([]entry{{"rootfs.img", string(image)}}, entries...)
	return packSections(t, `images = ( { filename = "rootfs.img"; sha256 = "SUM:rootfs.img"; } `+images+` );
`+sections, entries...)
}

// packSections makes a signed artifact of sections and payloads.
func packSections(t testing.TB, sections string, entries ...entry) []byte {
	t.Helper()
	text := `software = { version = "2.0"; hardware-compatibility = [ "#RE:.*" ];
` + sections + "\n};\n"
	for _, e := range entries {
		text = strings.ReplaceAll(text, "SUM:"+e.name+`"`, fmt.Sprintf("%x\"", sha256.Sum256([]byte(e.data))))
	}
	signature, err := authority().Signer.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, e := range append([]entry{{swu.DescriptionName, text}, {swu.SignatureName, string(signature)}}, append(entries, entry{"TRAILER!!!", ""})...) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			1, 0o100644, 0, 0, 1, 0, len(e.data), 0, 0, 0, 0, len(e.name)+1, 0, e.name)
		align(&b)
		b.WriteString(e.data)
		align(&b)
	}
	return b.Bytes()
}

// variables is a place for variables that keeps them in memory.
type variables struct {
	slot   string
	staged []swu.Variable
	stages int
	err    error
}

func (*variables) Check(slot string, v swu.Variable) error {
	if v.Value != slot && strings.HasPrefix(v.Name, "BOOT_") {
		return errors.New("the board chooses the slot by it")
	}
	return nil
}

func (v *variables) Stage(_ context.Context, slot string, changes []swu.Variable) error {
	v.slot, v.staged, v.stages = slot, changes, v.stages+1
	return v.err
}

type closing struct{ *slot }

func (closing) Close() error { return nil }

// surroundings declare one of everything.
type surroundings struct {
	data, trust, scripts, vars string
	kernel                     *slot // a part of the idle slot, if withKernel
	withKernel                 bool
	env                        *variables
}

func newSurroundings(t *testing.T) *surroundings {
	t.Helper()
	dir := t.TempDir()
	s := &surroundings{
		data: filepath.Join(dir, "data"), trust: filepath.Join(dir, "trust"), scripts: filepath.Join(dir, "run", "scripts"),
		kernel: newSlot(make([]byte, mib)), env: &variables{}, vars: filepath.Join(dir, "state", "vars"),
	}
	for _, d := range []string{s.data, s.trust} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *surroundings) declare(r *Rules) {
	r.Around = Around{
		Directories: []Directory{
			{Path: s.data}, {Device: "/dev/data", Path: s.data}, {Device: "trust", Path: s.trust, Trust: true},
		},
		Scripts: Scripts{Dir: s.scripts, Timeout: 10 * time.Second, Env: []string{"PATH=/usr/bin:/bin", "DATA=" + s.data}},
		BootEnv: s.env, Vars: s.vars,
		Installed: func(name string) (string, bool) { return "4.4", name == "kernel" },
	}
	if s.withKernel {
		r.Around.Targets = []Target{{Name: "kernel", Device: "/dev/kernel-b", SizeBytes: mib}}
		r.Around.OpenTarget = func(context.Context, string) (Medium, error) { return closing{s.kernel}, nil }
	}
}

// fill installs an artifact into a fresh slot.
func (s *surroundings) fill(t *testing.T, artifact []byte) (*slot, error) {
	t.Helper()
	idle := newSlot(make([]byte, 2*mib))
	rules := rulesFor(t, idle.Size())
	s.declare(&rules)
	_, err := run(t.Context(), artifact, rules, idle, false)
	return idle, err
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAround(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	image := pattern(mib+5, 1)
	script := "#!/bin/sh\necho $1 $2 >> $DATA/trace; env >> $DATA/env\n"
	idle, err := s.fill(t, packAround(t, image, "", `files = (
	{ filename = "conf"; path = "`+s.data+`/app/conf"; sha256 = "SUM:conf"; properties = { create-destination = "true"; }; },
	{ filename = "conf"; path = "/app/copy"; device = "/dev/data"; filesystem = "ext4"; sha256 = "SUM:conf"; } );
scripts = ( { filename = "s"; type = "shellscript"; data = "word"; sha256 = "SUM:s"; } );
bootenv = ( { name = "splash"; value = "new"; } );
vars = ( { name = "colour"; value = ""; } );`, entry{"conf", "setting = 1\n"}, entry{"s", script}))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(idle.medium[:len(image)], image) {
		t.Error("the slot differs from the image")
	}
	for _, name := range []string{"app/conf", "app/copy"} {
		if got := read(t, s.data, name); got != "setting = 1\n" {
			t.Errorf("%s holds %q", name, got)
		}
	}
	if got := read(t, s.data, "trace"); got != "preinst word\npostinst word\n" {
		t.Errorf("the script ran %q", got)
	}
	if got := read(t, s.data, "env"); strings.Contains(got, "HOME=") || strings.Contains(got, "GO") {
		t.Errorf("the script saw our environment: %q", got)
	}
	if left, err := os.ReadDir(s.scripts); err != nil || len(left) > 0 {
		t.Errorf("the scripts are left: %v, %v", left, err)
	}
	if len(s.env.staged) != 1 || s.env.staged[0].Value != "new" || s.env.slot != "b" {
		t.Errorf("staged %v for %q", s.env.staged, s.env.slot)
	}
	// The next artifact without variables takes the staged ones away.
	if _, err := s.fill(t, packAround(t, image, "", "")); err != nil || len(s.env.staged) != 0 || s.env.stages != 2 {
		t.Errorf("%v; still staged: %v", err, s.env.staged)
	}
}

// The bytes before an offset are part of what is read back.
func TestOffsetInTheSlot(t *testing.T) {
	t.Parallel()
	image := pattern(mib, 1)
	idle := newSlot(pattern(4*mib, 3))
	artifact := packText(t, "none", image, `{SUM; offset = "1000001";}`)
	got, err := run(t.Context(), artifact, rulesFor(t, idle.Size()), idle, false)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(idle.medium[1000001:1000001+mib], image) || got.SizeBytes != 1000001+mib {
		t.Errorf("the image lies elsewhere: %+v", got)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(idle.medium[:got.SizeBytes])); got.SHA256 != want {
		t.Errorf("sha256 %s, want %s", got.SHA256, want)
	}
	for _, w := range idle.writes[1:] {
		if w.offset%blockBytes != 0 {
			t.Errorf("a write at %d is not aligned", w.offset)
		}
	}
}

func TestAroundRefuses(t *testing.T) {
	t.Parallel()
	image := pattern(1000, 1)
	file := func(fields string) string { return `files = ( { filename = "f"; sha256 = "SUM:f"; ` + fields + ` } );` }
	script := `scripts = ( { filename = "f"; type = "shellscript"; sha256 = "SUM:f"; } );`
	nothing := func(r *Rules) { r.Around = Around{} }
	for _, tt := range []struct {
		name             string
		images, sections string
		rules            func(r *Rules)
		code             ota.Code
	}{
		{"a file anywhere", "", file(`path = "/etc/passwd";`), nil, ota.CodeTargetForbidden},
		{"a file beside", "", file(`path = "DATA/../x";`), nil, ota.CodeTargetForbidden},
		{"a file that begins alike", "", file(`path = "DATA2/x";`), nil, ota.CodeTargetForbidden},
		{"a relative path", "", file(`path = "x";`), nil, ota.CodeTargetForbidden},
		{"out of a device", "", file(`path = "../x"; device = "/dev/data";`), nil, ota.CodeTargetForbidden},
		{"another device", "", file(`path = "/x"; device = "/dev/sda";`), nil, ota.CodeTargetForbidden},
		{"the directory itself", "", file(`path = "DATA";`), nil, ota.CodeArtifactUnsupported},
		{"nothing declared", "", file(`path = "DATA/x";`), nothing, ota.CodeTargetForbidden},
		{"a second image in the slot", `, { filename = "f"; sha256 = "SUM:f"; }`, "", nil, ota.CodeArtifactUnsupported},
		{"an image too large for its target", `, { filename = "f"; sha256 = "SUM:f"; device = "kernel"; offset = "1M"; }`, "", nil, ota.CodeImageTooLarge},
		{"a target that is not declared", `, { filename = "f"; sha256 = "SUM:f"; device = "kernel"; }`, "", nothing, ota.CodeTargetForbidden},
		{"a condition", `, { filename = "f"; sha256 = "SUM:f"; device = "kernel"; install-if-different = true; }`, "", func(r *Rules) { r.Around.Installed = nil }, ota.CodeArtifactUnsupported},
		{"an update type", "", `update-type = "application";`, func(r *Rules) { r.UpdateTypes = []string{"default"} }, ota.CodeArtifactUnsupported},
		{"no update type", "", "", func(r *Rules) { r.UpdateTypes = []string{"application"} }, ota.CodeArtifactUnsupported},
		{"encrypted", "", file(`path = "DATA/x"; encrypted = true;`), nil, ota.CodeArtifactUnsupported},
		{"a script", "", script, nothing, ota.CodeArtifactUnsupported},
		{"bootenv", "", `bootenv = ( { name = "a"; value = "b"; } );`, nothing, ota.CodeArtifactUnsupported},
		{"vars", "", `vars = ( { name = "a"; value = "b"; } );`, nothing, ota.CodeArtifactUnsupported},
		{"a variable of the board", "", `bootenv = ( { name = "BOOT_ORDER"; value = "a"; } );`, nil, ota.CodeArtifactUnsupported},
		{"trust that is no certificate", "", file(`path = "ca.pem"; device = "trust";`), nil, ota.CodeArtifactUnsupported},
		{"trust in a subdirectory", "", file(`path = "a/ca.pem"; device = "trust";`), nil, ota.CodeArtifactUnsupported},
		{"trust that hides", "", file(`path = ".ca.pem"; device = "trust";`), nil, ota.CodeArtifactUnsupported},
		{"an archive of trust", "", file(`type = "archive"; path = "/"; device = "trust";`), nil, ota.CodeArtifactUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSurroundings(t)
			idle := newSlot(make([]byte, mib))
			rules := rulesFor(t, idle.Size())
			s.withKernel = strings.Contains(tt.images, "kernel")
			s.declare(&rules)
			if tt.rules != nil {
				tt.rules(&rules)
			}
			artifact := packAround(t, image, tt.images, strings.ReplaceAll(tt.sections, "DATA", s.data), entry{"f", "content"})
			_, err := run(t.Context(), artifact, rules, idle, false)
			wantFault(t, err, ota.Permanent, tt.code)
			if len(idle.writes)+len(s.kernel.writes)+s.env.stages > 0 {
				t.Error("something was touched before it was refused")
			}
		})
	}
}

func TestScripts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, script string
		timeout      time.Duration
		trace, said  string // trace empty: the slot is untouched
	}{
		{"fails before", "echo $1 >> $DATA/trace; echo out of luck >&2; exit 7", 0, "preinst\npostfailure\n", "out of luck"},
		{"fails after", "echo $1 >> $DATA/trace; [ $1 != postinst ]", 0, "preinst\npostinst\npostfailure\n", "postinst"},
		{"hangs", "echo $1 >> $DATA/trace; [ $1 = preinst ] && sleep 100", 300 * time.Millisecond, "preinst\npostfailure\n", "longer than"},
		{"a child hangs", "echo $1 >> $DATA/trace; [ $1 = preinst ] && (sleep 100 & wait)", 300 * time.Millisecond, "preinst\npostfailure\n", "longer than"},
		{"talks without end", "echo $1 >> $DATA/trace; [ $1 = preinst ] && yes | head -c 300000 && echo the end && exit 1", 0, "preinst\npostfailure\n", "the end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSurroundings(t)
			idle := newSlot(make([]byte, mib))
			rules := rulesFor(t, idle.Size())
			s.declare(&rules)
			if tt.timeout > 0 {
				rules.Around.Scripts.Timeout = tt.timeout
			}
			artifact := packAround(t, pattern(1000, 1), "", `scripts = ( { filename = "s"; type = "shellscript"; sha256 = "SUM:s"; } );`, entry{"s", "#!/bin/sh\n" + tt.script + "\n"})
			start := time.Now()
			_, err := run(t.Context(), artifact, rules, idle, false)
			wantFault(t, err, ota.Permanent, ota.CodeScript)
			if err == nil || !strings.Contains(err.Error(), tt.said) || len(err.Error()) > 2*maxSaid {
				t.Errorf("error %v", err)
			}
			if got := read(t, s.data, "trace"); got != tt.trace {
				t.Errorf("the script ran %q, want %q", got, tt.trace)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			if before := !strings.Contains(tt.trace, "postinst"); before != (len(idle.writes) == 0) {
				t.Errorf("%d writes into the slot", len(idle.writes))
			}
		})
	}
}

func TestArchives(t *testing.T) {
	t.Parallel()
	header := func(kind byte, name, link string) *tar.Header {
		return &tar.Header{Typeflag: kind, Name: name, Linkname: link, Mode: 0o750, Uid: os.Getuid(), Gid: os.Getgid(), ModTime: time.Unix(1e9, 0)}
	}
	for _, tt := range []struct {
		name string
		in   []*tar.Header
		good bool
	}{
		{"all kinds", []*tar.Header{header(tar.TypeDir, "./d/", ""), header(tar.TypeReg, "d/f", ""), header(tar.TypeSymlink, "d/s", "f"), header(tar.TypeLink, "d/h", "d/f")}, true},
		{"twice", []*tar.Header{header(tar.TypeReg, "f", ""), header(tar.TypeSymlink, "f", "x"), header(tar.TypeReg, "f", "")}, true},
		{"climbs", []*tar.Header{header(tar.TypeReg, "../f", "")}, false},
		{"root", []*tar.Header{header(tar.TypeReg, "/f", "")}, false},
		{"through a link", []*tar.Header{header(tar.TypeSymlink, "out", "../.."), header(tar.TypeReg, "out/f", "")}, false},
		{"a link to the outside", []*tar.Header{header(tar.TypeLink, "h", "../trust/ca.pem")}, false},
		{"a device", []*tar.Header{header(tar.TypeChar, "null", "")}, false},
		{"nothing", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, h := range tt.in {
				h := *h
				if h.Typeflag == tar.TypeReg {
					h.Size = 4
				}
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				_, _ = w.Write([]byte("data")[:h.Size])
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			s := newSurroundings(t)
			_, err := s.fill(t, packAround(t, pattern(1000, 1), "", `files = ( { filename = "a"; type = "archive"; path = "`+s.data+
				`"; sha256 = "SUM:a"; properties = { preserve-attributes = "true"; }; } );`, entry{"a", b.String()}))
			if (err == nil) != tt.good {
				t.Fatalf("%v", err)
			}
			for _, outside := range []string{filepath.Dir(s.data), filepath.Dir(filepath.Dir(s.data)), "/"} {
				if _, err := os.Lstat(filepath.Join(outside, "f")); err == nil {
					t.Errorf("%s/f was written", outside)
				}
			}
			if tt.name != "all kinds" {
				return
			}
			info, err := os.Stat(filepath.Join(s.data, "d/h"))
			if err != nil || info.Mode().Perm() != 0o750 || info.ModTime().Unix() != 1e9 || read(t, s.data, "d/s") != "data" {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
}

func TestTrustWaitsForConfirm(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	old, fresh := string(authority().CA), string(stranger().CA)
	if err := os.WriteFile(filepath.Join(s.trust, "ca.pem"), []byte(old), 0o644); err != nil {
		t.Fatal(err)
	}
	artifact := packAround(t, pattern(1000, 1), "", `files = (
	{ filename = "new"; path = "/new.pem"; device = "trust"; sha256 = "SUM:new"; },
	{ filename = "new"; path = "/ca.pem"; device = "trust"; sha256 = "SUM:new"; } );`, entry{"new", fresh})
	names := func() string {
		found, err := filepath.Glob(filepath.Join(s.trust, "*.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(len(found)) + read(t, s.trust, "ca.pem")
	}
	install := func() {
		t.Helper()
		if _, err := s.fill(t, artifact); err != nil {
			t.Fatal(err)
		}
		if names() != "1"+old {
			t.Error("the new trust counts before it is confirmed")
		}
	}
	install()
	if err := Discard(s.trust); err != nil {
		t.Fatal(err)
	}
	if err := Promote(s.trust); err != nil || names() != "1"+old {
		t.Errorf("what was rolled back came back: %v", err)
	}
	install()
	// Another install begins afresh.
	if _, err := s.fill(t, packAround(t, pattern(1000, 1), "", "")); err != nil {
		t.Fatal(err)
	}
	if err := Promote(s.trust); err != nil || names() != "1"+old {
		t.Errorf("what was left behind counts: %v", err)
	}
	install()
	for range 2 { // as after a crash
		if err := Promote(s.trust); err != nil || names() != "2"+fresh {
			t.Errorf("the new trust does not count: %v", err)
		}
	}
	if err := errors.Join(Promote(s.trust+"/none"), Discard(s.trust+"/none")); err != nil {
		t.Error(err)
	}
}
