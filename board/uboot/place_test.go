package uboot

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseConfig(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []place
		err        string
	}{
		{"one line", "/dev/mmcblk0 0xc0000 0x20000\n", []place{{"/dev/mmcblk0", 0xc0000, 0x20000}}, ""},
		{"sizes are hexadecimal, offsets are not", "/dev/sda 4096 4000", []place{{"/dev/sda", 4096, 0x4000}}, ""},
		{"comments, tabs, columns for flash", "# MMC\n\n/dev/a\t0x0 0x4000 0x4000 1 # one\n/dev/b 0 0x4000\n",
			[]place{{"/dev/a", 0, 0x4000}, {"/dev/b", 0, 0x4000}}, ""},
		{"from the end", "/dev/mmcblk0 -0x20000 0x20000", []place{{"/dev/mmcblk0", -0x20000, 0x20000}}, ""},
		{"two on one device", "/dev/a 0 1000\n/dev/a 0x1000 1000", []place{{"/dev/a", 0, 0x1000}, {"/dev/a", 0x1000, 0x1000}}, ""},
		{"empty", "# nothing\n", nil, "no environment"},
		{"three copies", strings.Repeat("/dev/a 0 1000\n", 3), nil, "3 copies"},
		{"too few columns", "/dev/a 0", nil, "line 1: 2 columns"},
		{"offset that is none", "/dev/a x 1000", nil, "offset"},
		{"Go's numbers", "/dev/a 0b1 1000", nil, "offset"},
		{"size that is none", "/dev/a 0 4k", nil, "size"},
		{"size too large", "/dev/a 0 0x1000000", nil, "is not between"},
		{"size too small", "/dev/a 0 4", nil, "is not between"},
		{"different sizes", "/dev/a 0 1000\n/dev/b 0 2000", nil, "different sizes"},
		{"overlap", "/dev/a 0 1000\n/dev/a 0xfff 1000", nil, "overlap"},
		{"no room before the end", "/dev/a -0x10 1000", nil, "no room"},
		{"offset beyond all devices", "/dev/a 0x7fffffffffffffff 1000", nil, "no place"},
		{"raw flash", "/dev/mtd3 0 1000", nil, "raw flash"},
		{"UBI", "/dev/ubi0:env 0 1000", nil, "raw flash"},
		{"relative", "uboot.env 0 1000", nil, "absolute"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseConfig([]byte(test.text))
			checkPlaces(t, got, err, places{test.want, defaultLock}, test.err)
		})
	}
}

func TestParseYAML(t *testing.T) {
	t.Parallel()
	const example = `---
# two copies
uboot:
  size : 0x4000
  lockfile : "/run/lock/uboot"   # ours
  devices:
    - path : /dev/mmcblk0
      offset : 0xA0000
      sectorsize : 0x10000
      disablelock : yes
    - path: '/dev/mmcblk0'
      offset: 0xB0000
`
	two := []place{{"/dev/mmcblk0", 0xA0000, 0x4000}, {"/dev/mmcblk0", 0xB0000, 0x4000}}
	tests := []struct {
		name, text string
		want       places
		err        string
	}{
		{"flat lists", "u:\n size: 4096\n devices:\n - path: /e\n   offset: 0\n", places{[]place{{"/e", 0, 4096}}, defaultLock}, ""},
		{"size last, offset left out", "u:\n  devices:\n    - path: /e\n  size: 0x1000\n", places{[]place{{"/e", 0, 4096}}, defaultLock}, ""},
		{"two environments", "a:\n  size: 1\nb:\n  size: 1\n", places{}, "line 3: a second environment"},
		{"a list of variables to write", "a:\n  size: 0x1000\n  writelist:\n    - foo:sw\n", places{}, `"writelist" is not supported`},
		{"flow style", "a: {size: 1}\n", places{}, "not supported"},
		{"anchors", "a: &x\n", places{}, "not supported"},
		{"tabs", "a:\n\tsize: 1\n", places{}, "tab"},
		{"unknown key", "a:\n  colour: red\n", places{}, "not supported"},
		{"unknown key of a device", "a:\n  devices:\n    - path: /e\n      colour: red\n", places{}, "not supported"},
		{"odd indent", "a:\n  size: 0x1000\n   devices:\n", places{}, "indent"},
		{"no size", "a:\n  devices:\n    - path: /e\n", places{}, "is not between"},
		{"no namespace", "size: 0x1000\n", places{}, "value where a block"},
		{"not a pair", "a:\n  size\n", places{}, "key with a value"},
		{"an escape", "a:\n  lockfile: \"x\\n\"\n", places{}, "escape"},
		{"empty", "", places{}, "no environment"},
	}
	t.Run("libubootenv's example", func(t *testing.T) {
		got, err := parseYAML([]byte(example))
		checkPlaces(t, got, err, places{two, "/run/lock/uboot"}, "")
	})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseYAML([]byte(test.text))
			checkPlaces(t, got, err, test.want, test.err)
		})
	}
}

func checkPlaces(t *testing.T, got places, err error, want places, wantErr string) {
	t.Helper()
	if wantErr != "" {
		if err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Errorf("got %+v and %v, want an error with %q", got, err, wantErr)
		}
		return
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v and %v\nwant %+v", got, err, want)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("/dev/mmcblk0 0xc0000 0x20000\n/dev/mmcblk0 -0x20000 0x20000 # c\n"))
	f.Fuzz(func(t *testing.T, data []byte) { checkFuzzed(t, data, parseConfig) })
}

func FuzzParseYAML(f *testing.F) {
	f.Add([]byte("uboot:\n  size: 0x1000\n  lockfile: /l\n  devices:\n    - path: /dev/a\n      offset: 0x4000\n"))
	f.Fuzz(func(t *testing.T, data []byte) { checkFuzzed(t, data, parseYAML) })
}

// checkFuzzed holds what was accepted to the bounds that writing relies on.
func checkFuzzed(t *testing.T, data []byte, parse func([]byte) (places, error)) {
	p, err := parse(data)
	if err != nil {
		return
	}
	if n := len(p.copies); n < 1 || n > 2 {
		t.Fatalf("%d copies", n)
	}
	for _, c := range p.copies {
		if c.path[0] != '/' || c.sizeBytes < minEnvBytes || c.sizeBytes > maxEnvBytes || c.offset < 0 && c.offset+c.sizeBytes > 0 {
			t.Fatalf("accepted %+v", c)
		}
	}
}
