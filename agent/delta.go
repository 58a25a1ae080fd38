package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"

	"otad/agent/report"
	"otad/board"
	"otad/ota"
	"otad/ota/durable"
	"otad/ota/install"
)

// Piecer brings pieces of a file in.
type Piecer interface {
	// Pieces reads them one behind the other. The reader survives cut connections
	// by itself; all its errors are faults, and it ends only behind the last one.
	Pieces(ctx context.Context, p Pieces) (io.ReadCloser, error)
}

// Pieces are what is wanted of a file.
type Pieces struct {
	URL        string // absolute
	TotalBytes int64  // of the file; another size is another file
	Wanted     []ota.Span
	MaxRanges  int         // in a request; 0: as many as is good
	Fetched    func(n int) // hears how many bytes came
	// Again is that of Stream.
	Again func(ctx context.Context, failures int, cause *ota.Fault) error
}

// gainBytes that an attempt brought make up for its failure.
const gainBytes = 256 << 10

// delta says how a delta for target comes together: what is not on the box is
// fetched from beside the artifact.
func (a *Agent) delta(ctx context.Context, rec ota.Record, target string) install.Delta {
	if a.Piecer == nil {
		return install.Delta{}
	}
	return install.Delta{
		Source: func(ctx context.Context, of string) (install.Medium, error) { return a.runningCopy(ctx, target, of) },
		Fetch:  func(ctx context.Context, w install.Wanted) (io.ReadCloser, error) { return a.fetchPieces(ctx, rec, w) },
		Told:   func(s install.Survey) { a.surveyed(ctx, rec, s) },
	}
}

// runningCopy opens what runs in place of target, or of a part of it.
func (a *Agent) runningCopy(ctx context.Context, target, of string) (install.Medium, error) {
	if a.boot.Slot == "" || a.boot.Slot == target {
		return nil, errors.New("no other slot runs")
	}
	if of == target {
		return a.Board.OpenSlot(ctx, a.boot.Slot)
	}
	parts, ok := a.Board.(board.Parts)
	if !ok {
		return nil, fmt.Errorf("%w: %q", board.ErrUnknownSlot, of)
	}
	return parts.OpenPart(ctx, a.boot.Slot, of)
}

// surveyed tells what has to come. When it is less than an attempt before it had
// to bring, that one was not in vain.
func (a *Agent) surveyed(ctx context.Context, rec ota.Record, s install.Survey) {
	if s.NoSource != nil {
		a.Log.Warn("delta: cannot copy all from the system that runs", "update", rec.ID, "cause", s.NoSource)
	}
	a.Log.Info("delta", "update", rec.ID, "image", s.ImageBytes, "to_fetch", s.FetchBytes, "copied", s.CopiedBytes, "in_place", s.PlacedBytes)
	gained := false
	a.edit(func(st *report.State) {
		gained = st.Delta != nil && s.FetchBytes <= st.Delta.FetchBytes-gainBytes
		st.Delta = &report.Delta{ImageBytes: s.ImageBytes, FetchBytes: s.FetchBytes}
		a.fetched = 0
	})
	if !gained {
		return
	}
	if err := a.record(ctx, ota.Gained{}); err != nil {
		a.Log.Warn("cannot note that the attempt before brought something", "update", rec.ID, "cause", err)
	}
}

// fetchPieces finds the file of chunks: beside an artifact that a person handed
// in, else where its URL leads from that of the artifact.
func (a *Agent) fetchPieces(ctx context.Context, rec ota.Record, w install.Wanted) (io.ReadCloser, error) {
	bad := func(cause error) error {
		return ota.NewPermanent(ota.CodeArtifactUnsupported, fmt.Errorf("cannot find the chunks of the delta: %w", cause))
	}
	ref, err := url.Parse(w.URL)
	if err != nil {
		return nil, bad(errors.New("their URL cannot be read"))
	}
	if rec.Offer.File != "" {
		file := filepath.Join(filepath.Dir(rec.Offer.File), path.Base(path.Clean("/"+ref.Path)))
		r, err := openPieces(a.FS, file, w)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || !ref.IsAbs() {
			return r, err
		}
	}
	base, err := url.Parse(rec.Offer.URL)
	if err != nil {
		return nil, bad(errors.New("the URL of the artifact cannot be read"))
	}
	return a.Piecer.Pieces(ctx, Pieces{URL: base.ResolveReference(ref).String(), TotalBytes: w.TotalBytes, Wanted: w.Pieces, MaxRanges: w.MaxRanges,
		Fetched: a.countFetched, Again: a.streamAgain})
}

func (a *Agent) countFetched(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fetched += int64(n)
}

// pieces reads them from a file beside the artifact.
type pieces struct {
	file durable.File
	left []ota.Span
}

func openPieces(fsys durable.FS, name string, w install.Wanted) (io.ReadCloser, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ota.NewPermanent(ota.CodeFirmwareNotFound, fmt.Errorf("cannot open the chunks of the delta: %w", err)).
			WithHint("put the file of chunks beside the artifact")
	}
	if err != nil {
		return nil, readFault(err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != w.TotalBytes {
		err = ota.NewPermanent(ota.CodeArtifactHash, fmt.Errorf("cannot use %q: it has %d bytes, the signed header describes a file of %d", name, info.Size(), w.TotalBytes)).
			WithHint("put the file beside the artifact that was packed together with it")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &pieces{f, w.Pieces}, nil
}

func readFault(err error) error {
	return ota.NewTransient(ota.CodeBoard, fmt.Errorf("cannot read the chunks of the delta: %w", err)).WithHint("is the stick still in?")
}

// Read implements io.Reader.
func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	s := &p.left[0]
	n, err := p.file.ReadAt(b[:min(int64(len(b)), s.Length)], s.Offset)
	if s.Offset, s.Length = s.Offset+int64(n), s.Length-int64(n); s.Length == 0 {
		p.left = p.left[1:]
	}
	if n > 0 {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // it was cut since
	}
	return 0, readFault(err)
}

// Close implements io.Closer. It may come while a Read is under way.
func (p *pieces) Close() error { return p.file.Close() }
