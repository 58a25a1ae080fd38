package swu

import (
	"bytes"
	"context"
	"io"
	"testing"
)

func BenchmarkVerify(b *testing.B) {
	artifact := pack(b, Manifest{Version: "1", Model: "stv1"}, KindNone, sample(16<<20))
	p, a, err := install(b, artifact, theWorld().trust, box)
	must(b, err)
	b.SetBytes(16 << 20)
	b.ReportAllocs()
	for b.Loop() {
		must(b, p.Verify(context.Background(), a, nil))
	}
}

func BenchmarkDecompress(b *testing.B) {
	for _, kind := range []string{KindZlib, KindZstd} {
		b.Run(kind, func(b *testing.B) {
			var stored bytes.Buffer
			_, err := Compress(&stored, bytes.NewReader(sample(16<<20)), kind)
			must(b, err)
			b.SetBytes(16 << 20)
			b.ReportAllocs()
			for b.Loop() {
				r, err := Decompress(kind, bytes.NewReader(stored.Bytes()))
				must(b, err)
				_, err = io.Copy(io.Discard, r)
				must(b, err)
				must(b, r.Close())
			}
		})
	}
}
