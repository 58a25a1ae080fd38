package zck

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestUnzckReadsOurs(t *testing.T) {
	t.Parallel()
	image := append(random(3<<20, 1), make([]byte, 1<<20)...)
	image = append(image, bytes.Repeat([]byte("a line of text that packs well\n"), 20000)...)
	for _, o := range []Options{
		ToolOptions,
		{DefaultParams, SHA512_128, true},
		{DefaultParams, SHA512_128, false},
		{DefaultParams, SHA256, false},
	} {
		dir := t.TempDir()
		var body bytes.Buffer
		header, err := Pack(&body, bytes.NewReader(image), o)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "a.zck")
		os.WriteFile(name, append(header, body.Bytes()...), 0o644)
		for _, tool := range []string{"unzck", "zck_read_header"} {
			c := exec.Command(tool, map[string]string{"unzck": "-c", "zck_read_header": "-f"}[tool], name)
			c.Stderr = os.Stderr
			out, err := c.Output()
			if err != nil {
				t.Fatal(tool, o, err, string(out[:min(300, len(out))]))
			}
			if tool == "unzck" && !bytes.Equal(out, image) {
				t.Fatal("differs")
			}
		}
		h, err := ReadHeader(bytes.NewReader(header), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		d, _ := h.NewDecoder()
		var got []byte
		for _, c := range h.Chunks(0) {
			p, err := d.Decode(nil, c, body.Bytes()[c.BodyOffset:][:c.BodySize])
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p...)
		}
		if !bytes.Equal(got, image) || int64(len(image)) != h.Size {
			t.Fatal("ours differs")
		}
	}
}
