package install

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"otad/ota"
	"otad/ota/durable"
)

// fileSlot is a slot in a real file.
type fileSlot struct {
	durable.File
	size int64
}

func (s fileSlot) Size() int64 { return s.size }

// What an install costs after the download: verify, write with syncs, read
// back from the medium. MB/s are of the image.
func BenchmarkInstall(b *testing.B) {
	const size = 64 * mib
	image := pattern(size, 1)
	copy(image[size/2:], make([]byte, size/4)) // a quarter that compresses
	for _, kind := range []string{"none", "zlib", "zstd"} {
		artifact := pack(b, kind, image)
		f, err := durable.OS.OpenFile(filepath.Join(b.TempDir(), "slot"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		slot := fileSlot{f, size}
		rules := rulesFor(b, size)
		var plan *Plan
		var written ota.Image
		for _, step := range []struct {
			name string
			run  func() error
		}{
			{"verify", func() (err error) {
				plan, err = Open(b.Context(), bytes.NewReader(artifact), int64(len(artifact)), rules, quiet)
				return err
			}},
			{"write", func() (err error) { written, err = plan.Write(b.Context(), slot, false, quiet); return err }},
			{"skip-equal", func() error { _, err := plan.Write(b.Context(), slot, true, quiet); return err }},
			{"read-back", func() error { return ReadBack(b.Context(), slot, written, quiet) }},
		} {
			b.Run(kind+"/"+step.name, func(b *testing.B) {
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					if err := step.run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
