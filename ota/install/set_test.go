package install

import (
	"bytes"
	"strings"
	"testing"

	"otad/ota"
)

// The kernel's image, at an offset of its part.
const kernelImage = `, { filename = "k"; device = "DEVICE"; offset = "4K"; sha256 = "SUM:k"; name = "kernel"; version = "VERSION"; install-if-higher = true; }`

func kernelAt(device, version string) string {
	return strings.NewReplacer("DEVICE", device, "VERSION", version).Replace(kernelImage)
}

func TestSet(t *testing.T) {
	t.Parallel()
	kernel := pattern(5000, 2)
	image := pattern(mib, 1)
	put := func(images string) (*surroundings, error) {
		s := newSurroundings(t)
		s.withKernel = true
		_, err := s.fill(t, packAround(t, image, images, "", entry{"k", string(kernel)}))
		return s, err
	}
	for name, images := range map[string]string{
		"by the name of the part": kernelAt("kernel", "4.5"),
		"by its device":           kernelAt("/dev/kernel-b", "4.5"),
		// The running kernel is asked about; the idle slot holds another one.
		"installed already, but beside another system": kernelAt("kernel", "4.4"),
	} {
		s, err := put(images)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(s.kernel.medium[4096:4096+len(kernel)], kernel) {
			t.Errorf("%s: the part differs from its image", name)
		}
	}
	for name, images := range map[string]string{
		"a part left out": "", "a part of the other slot": kernelAt("/dev/kernel-a", "4.5"),
		"a part twice": kernelAt("kernel", "4.5") + kernelAt("/dev/kernel-b", "4.5"),
	} {
		s, err := put(images)
		if f := ota.FaultOf(err); f == nil || f.Class != ota.Permanent || len(s.kernel.writes) > 0 {
			t.Errorf("%s: got %v, and %d writes", name, err, len(s.kernel.writes))
		}
	}
	s := newSurroundings(t)
	s.withKernel = true
	s.kernel.flip = 5000
	_, err := s.fill(t, packAround(t, image, kernelAt("kernel", "4.5"), "", entry{"k", string(kernel)}))
	wantFault(t, err, ota.Transient, ota.CodeReadback)
}

// An artifact without an image for the slot changes the running system, and
// what it may do there has no more room than elsewhere.
func TestNothingForTheSlot(t *testing.T) {
	t.Parallel()
	file := `files = ( { filename = "f"; path = "DATA/f"; sha256 = "SUM:f"; } ); `
	for _, tt := range []struct {
		name, sections string
		code           ota.Code // "" for done
		text           string
	}{
		{"a file", file, "", ""},
		{"no restart", file + `reboot = false;`, "", ""},
		{"a script", `scripts = ( { filename = "s"; type = "shellscript"; sha256 = "SUM:s"; } );`, "", ""},
		{"vars", `vars = ( { name = "colour"; value = "red"; } );`, "", ""},
		{"a file anywhere", strings.Replace(file, "DATA/f", "/etc/passwd", 1), ota.CodeTargetForbidden, "no declared directory"},
		{"bootenv", file + `bootenv = ( { name = "splash"; value = "new"; } );`, ota.CodeArtifactUnsupported, "no image for the slot"},
		{"a part only", `images = ( { filename = "f"; device = "kernel"; sha256 = "SUM:f"; } );`, ota.CodeArtifactUnsupported, "none for the slot itself"},
		{"a script that fails", file + `scripts = ( { filename = "bad"; type = "postinstall"; sha256 = "SUM:bad"; } );`, ota.CodeScript, "postinst"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSurroundings(t)
			s.withKernel = true
			rules := rulesFor(t, mib)
			s.declare(&rules)
			artifact := packSections(t, strings.ReplaceAll(tt.sections, "DATA", s.data),
				entry{"f", "content"}, entry{"s", "#!/bin/sh\necho $1 >> $DATA/f\n"}, entry{"bad", "#!/bin/sh\nexit 1\n"})
			plan, err := Open(t.Context(), bytes.NewReader(artifact), int64(len(artifact)), rules, quiet)
			if err == nil {
				if plan.FillsSlot() || plan.Reboot != !strings.Contains(tt.sections, "reboot") {
					t.Errorf("plan %+v", plan)
				}
				_, err = plan.Write(t.Context(), nil, false, quiet)
			}
			if tt.code != "" {
				wantFault(t, err, ota.Permanent, tt.code)
				if err == nil || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("error %v, want %q in it", err, tt.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.env.stages > 0 || len(s.kernel.writes) > 0 {
				t.Error("the slot's part or variables were touched")
			}
			if tt.name != "vars" && read(t, s.data, "f") == "" {
				t.Error("nothing was done")
			}
		})
	}
}

// vars count once the update is confirmed, and never in part.
func TestVarsWaitForConfirm(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	rules := rulesFor(t, mib)
	s.declare(&rules)
	set := func(vars string) {
		t.Helper()
		if _, err := s.fill(t, packAround(t, pattern(1000, 1), "", "vars = ( "+vars+" );")); err != nil {
			t.Fatal(err)
		}
	}
	promoted := func(want string) {
		t.Helper()
		for range 2 { // as after a crash
			if err := rules.Around.Promote(); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, s.vars); got != want {
			t.Errorf("vars are %q, want %q", got, want)
		}
	}
	set(`{ name = "colour"; value = "red = 1"; }, { name = "a"; value = "1"; }`)
	promoted("a=1\ncolour=red = 1\n")
	set(`{ name = "colour"; value = "blue"; }`)
	if err := rules.Around.Discard(); err != nil {
		t.Fatal(err)
	}
	promoted("a=1\ncolour=red = 1\n")
	set(`{ name = "colour"; value = "blue"; }`)
	set(`{ name = "a"; value = ""; }`) // another install in place of it
	promoted("colour=red = 1\n")
}
