package swu

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func parse(t testing.TB, text string) *Description {
	t.Helper()
	d, err := ParseDescription([]byte(text))
	must(t, err)
	return d
}

func fixture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	must(t, err)
	return string(b)
}

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestDescriptionsOfOtherProducers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		s    Selection
		want string
	}{
		{"swugenerator.sw-description", Selection{"any", "1.2", "stable", "copy1"}, "0.1.0 true rootfs.ext4.zlib /dev/mmcblk0p2 zlib -1 0 10"},
		{"swugenerator.sw-description", Selection{"any", "2.17", "stable", "copy2"}, "0.1.0 true rootfs.ext4.zlib /dev/mmcblk0p3 zlib -1 0 10"},
		{"meta-swupdate.sw-description", Selection{"stv1", "x", "stable", "copy1"}, "1.0.7 true core-image-full-cmdline-stv1.ext4.gz  zlib 5000000000 16384 -1"},
		{"meta-swupdate.sw-description", Selection{"stv1", "", "stable", "copy2"}, "1.0.7 true core-image-full-cmdline-stv1.ext4.gz  zlib 5000000000 16384 -1"},
		{"json.sw-description", box, "3.1.4 false rootfs.squashfs.zst /dev/mmcblk0p3 zstd 12345 8388608 99"},
	}
	for _, tt := range tests {
		p, err := parse(t, fixture(t, tt.name)).Select(tt.s)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		i := p.Images[0]
		got := fmt.Sprint(p.Version, " ", p.Reboot, " ", i.Filename, " ", i.Device, " ", i.Compressed, " ", i.SizeBytes, " ", i.OffsetBytes, " ", i.DecompressedBytes)
		if got != tt.want || i.SHA256 != emptyHash {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestContentsShowsAllCopies(t *testing.T) {
	t.Parallel()
	d := parse(t, fixture(t, "swugenerator.sw-description"))
	var got []string
	for _, i := range d.Contents() {
		got = append(got, fmt.Sprint(i.Path, " ", i.Kind, " ", i.Line, " ", i.Fields["device"], " ", i.Fields["properties.decompressed-size"]))
	}
	want := "stable.copy1 images 11 /dev/mmcblk0p2 10|stable.copy2 images 27 /dev/mmcblk0p3 10"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("%s, want %s", s, want)
	}
	if d.Header()["version"] != "0.1.0" {
		t.Errorf("header %v", d.Header())
	}
}

// images makes a section whose one image is called name.
func images(name string) string {
	return `images = ( { filename = "` + name + `"; sha256 = "` + emptyHash + `"; } ); `
}

func software(inner string) string {
	return "software = { version = \"1\"; hardware-compatibility = [ \"1.0\" ];\n" + inner + "\n};"
}

func TestLookupOrder(t *testing.T) {
	t.Parallel()
	boardSetMode := "stv1 = { stable = { copy2 = { " + images("board.set.mode") + "}; }; %s };"
	setMode := "stable = { copy2 = { " + images("set.mode") + "}; };"
	board := images("board")
	top := images("top")
	tests := []struct{ name, in, want string }{
		{"all four", fmt.Sprintf(boardSetMode, board) + setMode + top, "board.set.mode"},
		{"no board set", setMode + "stv1 = {" + board + "};" + top, "set.mode"},
		{"board and top", "stv1 = {" + board + "};" + top, "board"},
		{"top alone", top, "top"},
		{"another mode", "stable = { copy1 = { " + images("x") + "}; };" + top, "top"},
		{"another board", "stv2 = {" + images("x") + "};" + top, "top"},
		{"link to a sibling mode", `stable = { copy2 = { ref = "#./copy1"; }; copy1 = {` + images("linked") + "}; };", "linked"},
		{"link from the root", `stable = { copy2 = { ref = "#software/shared"; }; }; shared = {` + images("linked") + "};", "linked"},
		{"link up", `stv1 = { stable = { copy2 = { ref = "#./../../shared"; }; }; }; shared = {` + images("linked") + "};", "linked"},
		{"section is a link", `images = { ref = "#./shared"; }; shared = ( { filename = "linked"; sha256 = "` + emptyHash + `"; } );`, "linked"},
		{"element is a link", `images = ( { ref = "#./shared"; } ); shared = ( { filename = "linked"; sha256 = "` + emptyHash + `"; } );`, "linked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := parse(t, software(tt.in)).Select(box)
			must(t, err)
			if p.Images[0].Filename != tt.want {
				t.Errorf("found %q, want %q", p.Images[0].Filename, tt.want)
			}
		})
	}
}

func TestSelectRefuses(t *testing.T) {
	t.Parallel()
	image := func(fields string) string {
		return software(`images = ( {` + "\n" + `filename = "img"; sha256 = "` + emptyHash + `";` + "\n" + fields + "} );")
	}
	section := func(s string) string { return software(images("img") + "\n" + s) }
	links := "images = ( { ref = \"#./l0\"; } );"
	for i := range 9 {
		links += fmt.Sprintf("l%d = ( { ref = \"#./l%d\"; }, { ref = \"#./l%d\"; }, { ref = \"#./l%d\"; } );", i, i+1, i+1, i+1)
	}
	links += `l9 = ( { filename = "img"; } );`
	tests := []struct {
		name, in string
		kind     Kind
		words    string
	}{
		{"no version", `software = { hardware-compatibility = [ "1.0" ]; ` + images("x") + "};", Damaged, "no version"},
		{"version is a number", `software = { version = 1; hardware-compatibility = [ "1.0" ]; ` + images("x") + "};", Unsupported, "must be a string"},
		{"no hardware", `software = { version = "1"; ` + images("x") + "};", WrongHardware, "does not say for which hardware"},
		{"another revision", `software = { version = "1"; hardware-compatibility = [ "2.0", "#RE:^3" ]; ` + images("x") + "};", WrongHardware, `"2.0", "#RE:^3", this box is revision "1.0"`},
		{"no revision at all", `software = { version = "1"; hardware-compatibility = [ ]; ` + images("x") + "};", WrongHardware, "none"},
		{"a bad pattern", `software = { version = "1"; hardware-compatibility = [ "#RE:(" ]; ` + images("x") + "};", Unsupported, "hardware-compatibility"},
		{"hardware is a string", `software = { version = "1"; hardware-compatibility = "1.0"; ` + images("x") + "};", Unsupported, "list of strings"},
		{"another model", `software = { version = "1"; stv2 = { hardware-compatibility = [ "1.0" ]; ` + images("x") + "}; };", WrongHardware, `model "stv2", this box is "stv1"`},
		{"another model, hardware at the top", software("stv2 = { stable = { copy2 = { " + images("x") + "}; }; };"), WrongHardware, `model "stv2", this box is "stv1"`},
		{"nothing", software(""), Unsupported, "nothing to install"},
		{"no images", software("images = ();"), Unsupported, "nothing to install"},
		{"another copy", software("stable = { copy1 = { " + images("x") + "}; };"), Unsupported, `there is something at "stable.copy1"`},
		{"images is a group", software("images = { a = 1; };"), Unsupported, "must be a list"},
		{"an image is a string", software(`images = ( "x" );`), Unsupported, "must be a group"},
		{"Lua script", section(`scripts = ( { filename = "x"; } );`), Unsupported, `line 3: type "lua"`},
		{"compressed script", section(`scripts = ( { filename = "x"; type = "shellscript"; compressed = "zlib"; } );`), Unsupported, "line 3: scripts that are compressed"},
		{"script without a hash", section(`scripts = ( { filename = "x"; type = "shellscript"; } );`), BadSignature, "no sha256"},
		{"file without a path", section(`files = ( { filename = "x"; } );`), Unsupported, `line 3: a rawfile needs a path`},
		{"raw file", section(`files = ( { filename = "x"; type = "raw"; } );`), Unsupported, `line 3: type "raw" is not supported in files`},
		{"variable without a name", section(`bootenv = ( { value = "y"; } );`), Unsupported, `line 3: an element of bootenv`},
		{"variable with a line break", section(`uboot = ( { name = "x"; value = "y\n"; } );`), Unsupported, `line 3: an element of uboot`},
		{"variable with an equals sign", section(`vars = ( { name = "x=y"; } );`), Unsupported, `line 3: an element of vars`},
		{"partitions", section(`partitions = ( { name = "x"; } );`), Unsupported, `line 3: "partitions"`},
		{"Lua", section(`embedded-script = "os.exit()";`), Unsupported, `line 3: "embedded-script"`},
		{"no filename", software(`images = ( { device = "/dev/x"; } );`), Unsupported, "no filename"},
		{"no hash", software(`images = ( { filename = "img"; } );`), BadSignature, "no sha256"},
		{"half a hash", software(`images = ( { filename = "img"; sha256 = "abc"; } );`), Damaged, "64 hexadecimal"},
		{"another handler", image(`type = "ubivol";`), Unsupported, `line 4: type "ubivol"`},
		{"UBI volume", image(`volume = "x";`), Unsupported, `line 4: "volume"`},
		{"hook", image(`hook = "f";`), Unsupported, `line 4: "hook"`},
		{"another cipher", image(`encrypted = "des";`), Unsupported, `line 4: encryption "des"`},
		{"another key length", image(`encrypted = "aes-cbc-512";`), Unsupported, `line 4: encryption "aes-cbc-512"`},
		{"half a vector", image(`encrypted = true; ivt = "abc";`), Damaged, "line 4: ivt"},
		{"key in the description", image(`encrypted = true; aes-key = "00";`), Unsupported, `line 4: "aes-key"`},
		{"another compression", image(`compressed = "bzip2";`), Unsupported, `line 4: compression "bzip2"`},
		{"offset in words", image(`offset = "far";`), Unsupported, "line 4: offset"},
		{"offset too large", image(`offset = "9000000000G";`), Unsupported, "line 4: offset"},
		{"size below zero", image(`size = -1;`), Unsupported, "line 4: size"},
		{"link in a circle", software(`images = ( { ref = "#./images"; } );`), Unsupported, "circle"},
		{"place in a circle", software(`stable = { copy2 = { ref = "#./copy2"; }; };`), Unsupported, "circle"},
		{"link to nothing", software(`images = ( { ref = "#./none"; } );`), Damaged, "no list"},
		{"place links to nothing", software(`stable = { copy2 = { ref = "#./none"; }; };`), Damaged, "not there"},
		{"link out of the tree", software(`images = ( { ref = "#./../../../x"; } );`), Unsupported, "leaves"},
		{"link without a name", software(`images = ( { ref = "#./.."; } );`), Unsupported, "names nothing"},
		{"link to a file", software(`images = ( { ref = "/etc/x"; } );`), Unsupported, "begins with #"},
		{"links that multiply", software(links), Unsupported, "more than"},
		{"no software", "hardware = { };", Damaged, `no group "software"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := ParseDescription([]byte(tt.in))
			if err == nil {
				_, err = d.Select(box)
			}
			wantError(t, err, tt.kind, tt.words)
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	const payload = "payload"
	hash := `sha256 = "` + hashOf(payload) + `";`
	tests := []struct {
		name, images string
		kind         Kind
		words        string
	}{
		{"good", `filename = "img"; ` + hash, "", ""},
		{"no such entry", `filename = "other"; ` + hash, Damaged, `no entry "other"`},
		{"wrong hash", `filename = "img"; sha256 = "` + emptyHash + `";`, BadHash, "sha256"},
		{"wrong size", `filename = "img"; size = 8; ` + hash, BadHash, "7 bytes"},
		{"two that disagree", `filename = "img"; ` + hash + `}, { filename = "img"; sha256 = "` + emptyHash + `";`, BadHash, "another sha256"},
		{"two that agree", `filename = "img"; ` + hash + `}, { filename = "img"; ` + hash, "", ""},
	}
	for _, tt := range tests {
		d := describe(tt.images)
		b := build(magicPlain, file{DescriptionName, d}, file{SignatureName, string(theWorld().sign(t, d))}, file{"img", payload})
		_, _, err := install(t, b, theWorld().trust, box)
		if tt.kind == "" {
			must(t, err)
		} else {
			wantError(t, err, tt.kind, tt.words)
		}
	}
	unsigned := build(magicPlain, file{DescriptionName, describe(tests[0].images)}, file{"img", payload})
	_, _, err := install(t, unsigned, theWorld().trust, box)
	wantError(t, err, BadSignature, "not signed")
}

func TestCompareVersions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		a, b string
		want int
	}{
		{"1", "1.0.0.0", 0}, {"1.2", "1.10", -1}, {"1.2.3.4", "1.2.3.5", -1}, {"2", "1.9.9.9", 1},
		{"20260101", "20251231", 1}, {"1.2.3.4.5", "1.2.3.4", 1}, {"01.002", "1.2", 0}, {"65536", "1", 1},
		{"1.0.0-rc1", "1.0.0", -1}, {"1.0.0-rc.2", "1.0.0-rc.10", -1}, {"1.0.0-alpha", "1.0.0-1", 1},
		{"1.0.0-alpha", "1.0.0-alpha.1", -1}, {"1.0.0+a", "1.0.0+b", 0}, {"1.2-rc1", "1.2", -1}, {"1.0.1-rc1", "1.0.0", 1},
		{"abc", "abd", -1}, {"2026-01", "2025-12", 1}, {"v1", "v1", 0}, {"1.2.3.4-rc1", "1.2.3.4", 1}, {"", "1", -1},
	}
	for _, tt := range tests {
		if got := CompareVersions(tt.a, tt.b); got != tt.want {
			t.Errorf("%q with %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := CompareVersions(tt.b, tt.a); got != -tt.want {
			t.Errorf("%q with %q: %d, want %d", tt.b, tt.a, got, -tt.want)
		}
	}
}

func FuzzLibconfig(f *testing.F) {
	f.Add([]byte(software(images("x"))))
	f.Add([]byte("a = ( 1, \"x\" \"y\", { b : [ 0x1F, 2 ]; } ); /* */ # //\n"))
	for _, name := range []string{"swugenerator.sw-description", "meta-swupdate.sw-description"} {
		f.Add([]byte(fixture(f, name)))
	}
	f.Fuzz(fuzzDescription)
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(fixture(f, "json.sw-description")))
	f.Add([]byte(`{"software":{"version":"1","images":{"ref":"#./images"}}}`))
	f.Add([]byte("{/* c */\"a\":\"\\\"\"//\n}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseJSON(b); err != nil && KindOf(err) == "" {
			t.Fatalf("untyped error %v", err)
		}
		fuzzDescription(t, b)
	})
}

// fuzzDescription holds any text to this: a typed error, or a whole plan.
func fuzzDescription(t *testing.T, b []byte) {
	d, err := ParseDescription(b)
	if err != nil {
		if KindOf(err) == "" {
			t.Fatalf("untyped error %v", err)
		}
		return
	}
	d.Contents()
	d.Header()
	p, err := d.Select(box)
	if err != nil {
		if KindOf(err) == "" {
			t.Fatalf("untyped error %v", err)
		}
		return
	}
	if p.Version == "" || len(p.Images) == 0 || len(p.Images) > maxElements {
		t.Fatalf("half a plan: %+v", p)
	}
	for _, i := range p.Images {
		if i.Filename == "" || len(i.SHA256) != 64 || i.OffsetBytes < 0 || i.SizeBytes < -1 || i.Type != "raw" {
			t.Fatalf("half an image: %+v", i)
		}
	}
}
