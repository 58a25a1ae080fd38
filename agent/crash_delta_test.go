package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"otad/ota"
	"otad/ota/swu"
	"otad/ota/swu/swutest"
)

// deltaCode is the version that comes as a delta: most of it is in version 1,
// though elsewhere.
const deltaCode = 5

func (f *firmware) addDelta(authority swutest.Authority) {
	one, two := f.images[1], f.images[2]
	image := slices.Concat(two[:300<<10], one[:1<<20], two[1<<20:3<<19], one[3<<19:2<<20])
	d, err := authority.PackDelta(swu.Manifest{Version: fmt.Sprint(deltaCode), Model: testModel}, fmt.Sprintf("%d.zck", deltaCode), image)
	if err != nil {
		panic(err)
	}
	f.images[deltaCode], f.artifacts[deltaCode], f.chunks = image, d.Artifact, map[int64][]byte{deltaCode: d.Chunks}
}

// crashPiecer brings chunks in. The first reading of a life breaks half-way.
type crashPiecer struct{ broke bool }

func (c *crashPiecer) Pieces(_ context.Context, p Pieces) (io.ReadCloser, error) {
	var code int64
	if _, err := fmt.Sscanf(path.Base(p.URL), "%d.zck", &code); err != nil {
		return nil, ota.NewPermanent(ota.CodeFirmwareMissing, fmt.Errorf("cannot download %q: no such file", p.URL))
	}
	file := crashFirmware().chunks[code]
	var wanted bytes.Buffer
	for _, s := range p.Wanted {
		wanted.Write(file[s.Offset:s.End()])
	}
	if c.broke {
		return io.NopCloser(&wanted), nil
	}
	c.broke = true
	broken := ota.NewTransient(ota.CodeDownloadNetwork, errors.New("cannot download: connection reset by peer"))
	return io.NopCloser(io.MultiReader(io.LimitReader(&wanted, int64(wanted.Len()/2)), failingReader{broken})), nil
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }
