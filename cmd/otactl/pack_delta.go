package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/swu"
	"otad/ota/zck"
)

const (
	// forSWUpdate is the --delta-chunks of what SWUpdate can install too.
	forSWUpdate = "swupdate"
	// worthPacking is the part of an image that packing its chunks must save: it
	// costs a second digest for each of them, and the box the unpacking.
	worthPacking = 32
)

// deltaURL returns the --delta of an image: the one with its name, else the one
// without a name; "" if the image goes into the artifact as it is.
func (o *packOptions) deltaURL(name string) (at string) {
	for _, d := range o.deltas {
		of, to, named := strings.Cut(d, "=")
		switch {
		case named && of == name:
			return to
		case !named || strings.Contains(of, "/"): // the = is in a query
			at = d
		}
	}
	return at
}

// checkDeltas demands of the options for deltas what can be known before an
// image is read.
func (o *packOptions) checkDeltas() error {
	if len(o.deltas) == 0 {
		if o.deltaFrom != "" || o.deltaChunks != "" {
			return cli.Usagef("--delta-from and --delta-chunks need --delta")
		}
		return nil
	}
	made := 0
	for _, image := range o.images {
		name, _, _ := strings.Cut(image, "=")
		at := o.deltaURL(name)
		if at == "" {
			continue
		}
		made++
		if err := swu.CheckDeltaURL(o.urlOfFile(at, "x")); err != nil {
			return cli.Usagef("--delta is %q: %v", at, err)
		}
		if made > 1 && !strings.HasSuffix(at, "/") && at == o.deltaURL("") {
			return cli.Usagef("--delta is %q for several images: it must end in /, or each needs NAME=URL", at)
		}
	}
	switch {
	case made == 0:
		return cli.Usagef("--delta names no image that is packed")
	case o.deltaFrom != "" && made > 1:
		return cli.Usagef("--delta-from is one file, and %d images are deltas", made)
	case o.deltaFrom != "" && o.deltaChunks != "":
		return cli.Usagef("--delta-chunks has no effect with --delta-from")
	}
	_, err := o.zckOptions()
	return err
}

// zckOptions reads --delta-chunks.
func (o *packOptions) zckOptions() (zck.Options, error) {
	made := zck.Options{Params: zck.DefaultParams, Digest: zck.SHA256}
	switch o.deltaChunks {
	case "":
		return made, nil
	case forSWUpdate:
		return zck.ToolOptions, nil
	}
	p := &made.Params
	if _, err := fmt.Sscanf(o.deltaChunks, "%d/%d/%d", &p.Min, &p.Average, &p.Max); err != nil || p.String() != o.deltaChunks {
		return made, cli.Usagef("--delta-chunks is %q, not %s or MIN/AVERAGE/MAX in bytes such as %s", o.deltaChunks, forSWUpdate, zck.DefaultParams)
	}
	if err := p.Check(); err != nil {
		return made, cli.Usagef("--delta-chunks: %v", err)
	}
	return made, nil
}

// urlOfFile puts a file's name behind a URL that ends in /.
func (o *packOptions) urlOfFile(at, file string) string {
	if strings.HasSuffix(at, "/") {
		at += url.PathEscape(file)
	}
	return strings.TrimPrefix(at, "./")
}

// prepareDelta makes the file of chunks beside the artifact and describes its
// header, which goes into the artifact in place of the image.
func prepareDelta(ctx context.Context, env cli.Env, o *packOptions, p swu.Payload, in *os.File, at, temp string) (swu.Payload, error) {
	file := cmp.Or(o.deltaFrom, strings.TrimSuffix(o.out, ".swu")+"-"+p.Name+".zck")
	p.Type, p.Filename = swu.TypeDelta, p.Name+".zckheader"
	p.Delta.URL = o.urlOfFile(at, filepath.Base(file))
	var made *chunked
	var err error
	if o.deltaFrom == "" {
		made, err = cutImage(ctx, env, o, p.Name, in, file, temp)
	} else {
		made, err = takeZck(ctx, env, p.Name, in, file)
	}
	if err != nil {
		return p, err
	}
	if made.params != zck.ToolParams {
		p.Delta.ChunkMin, p.Delta.ChunkAverage, p.Delta.ChunkMax = made.params.Min, made.params.Average, made.params.Max
	}
	if p.Stored, err = swu.Compress(io.Discard, bytes.NewReader(made.header), swu.KindNone); err != nil {
		return p, err
	}
	p.Content = io.NopCloser(bytes.NewReader(made.header))
	p.Stored.PlainBytes, p.Stored.PlainSHA256 = made.bytes, made.sha256
	o.chunkFiles = append(o.chunkFiles, chunkFile{file, p.Delta.URL, made})
	return p, nil
}

// chunkFile is a file that has to be served beside an artifact.
type chunkFile struct {
	name, url string
	*chunked
}

// chunked is an image in chunks.
type chunked struct {
	params zck.Params
	header []byte
	bytes  int64 // of the image
	sha256 string
	body   int64
	chunks int
}

// count takes the figures from the header.
func (c *chunked) count(h *zck.Header) { c.bytes, c.body, c.chunks = h.Size, h.BodySize, h.Len() }

// cutImage writes a file of chunks. Whether they are packed is seen by doing it.
func cutImage(ctx context.Context, env cli.Env, o *packOptions, name string, image *os.File, file, temp string) (*chunked, error) {
	options, err := o.zckOptions()
	if err != nil {
		return nil, err
	}
	made := &chunked{params: options.Params}
	body, err := os.Create(temp)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	for _, options.Packed = range []bool{true, false} {
		if _, err := image.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		if err := body.Truncate(0); err != nil {
			return nil, err
		}
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		sum, m := sha256.New(), newMeter(env.Stderr, "cutting "+name, fileBytes(image))
		made.header, err = zck.Pack(body, io.TeeReader(cancelReader{ctx, image}, io.MultiWriter(sum, m)), options)
		m.clear()
		if err != nil {
			return nil, err
		}
		made.sha256 = hex.EncodeToString(sum.Sum(nil))
		if err := headerFits(name, len(made.header)); err != nil {
			return nil, err
		}
		h, err := zck.ReadHeader(bytes.NewReader(made.header), swu.MaxDeltaHeaderBytes)
		if err != nil {
			return nil, err
		}
		made.count(h)
		if o.deltaChunks == forSWUpdate || made.bytes-made.body > made.bytes/worthPacking {
			break
		}
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return made, writeWhole(file, func(w io.Writer) error {
		_, err := io.Copy(w, io.MultiReader(bytes.NewReader(made.header), cancelReader{ctx, body}))
		return err
	})
}

// headerFits refuses what no box would hold in memory.
func headerFits(name string, n int) error {
	if n <= swu.MaxDeltaHeaderBytes {
		return nil
	}
	return ota.NewPermanent(ota.CodeArtifactUnsupported, fmt.Errorf("cannot make a delta of %q: its header would have %d bytes, and a box holds %d at most in memory", name, n, swu.MaxDeltaHeaderBytes)).
		WithHint("cut it into larger chunks with --delta-chunks, or pack it whole")
}

// takeZck reads a file of chunks that was made elsewhere, all of it: it must
// hold the image, and be cut in a way that a box can be told.
func takeZck(ctx context.Context, env cli.Env, name string, image *os.File, file string) (*chunked, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	made := &chunked{}
	var raw bytes.Buffer
	m := newMeter(env.Stderr, "reading "+name, fileBytes(in))
	defer m.clear()
	body := io.TeeReader(cancelReader{ctx, in}, m)
	h, err := zck.ReadHeader(io.TeeReader(body, &raw), swu.MaxDeltaHeaderBytes)
	if err != nil {
		return nil, fmt.Errorf("cannot use %q: %w", file, err)
	}
	made.header = raw.Bytes()
	made.count(h)
	d, err := h.NewDecoder()
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var stored, plain []byte
	sum := sha256.New()
	for _, c := range h.Chunks(0) {
		stored = append(stored[:0], make([]byte, c.BodySize)...)
		if _, err := io.ReadFull(body, stored); err != nil {
			return nil, fmt.Errorf("cannot read %q: its body is cut: %w", file, err)
		}
		if plain, err = d.Decode(plain, c, stored); err != nil {
			return nil, fmt.Errorf("cannot use %q: %w", file, err)
		}
		sum.Write(plain)
	}
	made.sha256 = hex.EncodeToString(sum.Sum(nil))
	for _, made.params = range []zck.Params{zck.ToolParams, zck.DefaultParams} {
		same, err := cutsAre(h, cancelReader{ctx, image}, made.params)
		if err != nil || same {
			return made, err
		}
		if _, err := image.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("cannot use %q: it holds another image than %q, or is cut neither as zck nor as otactl does without options (such as zck -s), so no box would find its chunks", file, image.Name())
}

// cutsAre tells whether the image, cut so, has the chunks of h.
func cutsAre(h *zck.Header, image io.Reader, p zck.Params) (bool, error) {
	cuts := zck.NewChunker(image, p)
	for _, c := range h.Chunks(0) {
		chunk, err := cuts.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if !h.Check(c, chunk) {
			return false, nil
		}
	}
	_, err := cuts.Next()
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}
