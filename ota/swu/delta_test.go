package swu

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// delta makes a description with one image of type delta.
func delta(properties, fields string) string {
	return software(`images = ( { filename = "rootfs.zckheader"; type = "delta"; sha256 = "` + emptyHash + `"; size = 1040L;
` + fields + ` properties = { ` + properties + ` }; } );`)
}

func TestDeltaIsRead(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, properties, want string }{
		{"as SWUpdate's documentation has it", `url = "http://cdn.example/2.zck"; chain = "raw"; source = "/dev/mmcblk0p2"; zckloglevel = "error"; max-ranges = "100";`,
			"{http://cdn.example/2.zck 100 0 0 0} -1 "},
		{"beside the artifact, with cuts", `url = "stv1-2.zck"; chain = "raw"; chunk-min = "2048"; chunk-average = 8192; chunk-max = "32K"; source-size = "detect"; debug-chunks = "true";`,
			"{stv1-2.zck 0 2048 8192 32768} -1 "},
		{"with the whole image", `url = "/f/2.zck"; chain = "raw"; decompressed-size = "166121472"; decompressed-sha256 = "` + emptyHash + `";`,
			"{/f/2.zck 0 0 0 0} 166121472 " + emptyHash},
	}
	for _, tt := range tests {
		p, err := parse(t, delta(tt.properties, "")).Select(box)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		i := p.Images[0]
		if got := fmt.Sprint(i.Delta, " ", i.DecompressedBytes, " ", i.DecompressedSHA256); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestDeltaRefusesByName(t *testing.T) {
	t.Parallel()
	const good = `url = "http://cdn.example/2.zck"; chain = "raw"; `
	tests := []struct{ name, properties, fields, want string }{
		{"no url", `chain = "raw";`, "", "needs the url"},
		{"a file", `url = "file:///etc/shadow"; chain = "raw";`, "", "needs the url"},
		{"a login", `url = "http://user:pass@cdn.example/2.zck"; chain = "raw";`, "", "without a login"},
		{"no host", `url = "http:2.zck"; chain = "raw";`, "", "needs the url"},
		{"another host", `url = "//cdn.example/2.zck"; chain = "raw";`, "", "needs the url"},
		{"no chain", `url = "2.zck";`, "", `chain ""`},
		{"another chain", `url = "2.zck"; chain = "ubivol";`, "", `chain "ubivol"`},
		{"what nobody knows", good + `patch = "1";`, "", `property "patch"`},
		{"no ranges", good + `max-ranges = "0";`, "", "max-ranges of 0"},
		{"no number", good + `max-ranges = "many";`, "", "max-ranges must be a number"},
		{"cuts in part", good + `chunk-min = "2048";`, "", "belong together"},
		{"compressed", good, `compressed = "zlib";`, "compressed or encrypted"},
		{"encrypted", good, `encrypted = true;`, "compressed or encrypted"},
		{"an offset", good, `offset = "4K";`, "offset"},
		{"installed directly", good, `installed-directly = true;`, "installed-directly"},
	}
	for _, tt := range tests {
		_, err := parse(t, delta(tt.properties, tt.fields)).Select(box)
		if KindOf(err) != Unsupported || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "line") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	bare := software(`images = ( { filename = "h"; type = "delta"; sha256 = "` + emptyHash + `"; } );`)
	if _, err := parse(t, bare).Select(box); KindOf(err) != Unsupported {
		t.Errorf("without properties: %v", err)
	}
	if _, err := parse(t, strings.Replace(delta(good, `path = "/x";`), "images", "files", 1)).Select(box); KindOf(err) != Unsupported {
		t.Errorf("among files: %v", err)
	}
}

func TestDeltaIsWrittenAsItIsRead(t *testing.T) {
	t.Parallel()
	want := Delta{URL: "https://cdn.example/a/2.zck", MaxRanges: 50, ChunkMin: 2048, ChunkAverage: 8192, ChunkMax: 32768}
	m := Manifest{Version: "2", Payloads: []Payload{{
		Type: TypeDelta, Filename: "rootfs.zckheader", Delta: want, Content: bytes.NewReader(nil),
		Stored:  Stored{SizeBytes: 0, SHA256: emptyHash, PlainBytes: 99, PlainSHA256: emptyHash},
		Devices: map[string]string{"copy1": "/dev/a", "copy2": "/dev/b"},
	}}}
	for _, m.JSON = range []bool{false, true} {
		text, err := m.Describe()
		must(t, err)
		p, err := parse(t, string(text)).Select(box)
		must(t, err)
		i := p.Images[0]
		if i.Delta != want || i.DecompressedBytes != 99 || i.Device != "/dev/b" || i.Properties["source"] != "/dev/a" {
			t.Errorf("json %t: %+v", m.JSON, i)
		}
	}
}
