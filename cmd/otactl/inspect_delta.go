package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/ota/swu"
	"otad/ota/zck"
)

// contentsDelta is an image that comes in chunks, as its header says.
type contentsDelta struct {
	File        string `json:"file"` // the header, an entry
	URL         string `json:"url"`
	ImageBytes  int64  `json:"image_bytes"`
	HeaderBytes int64  `json:"header_bytes"`
	BodyBytes   int64  `json:"body_bytes"`
	Chunks      int    `json:"chunks"`
	Cuts        string `json:"cuts"`   // min/average/max in bytes, as the description says
	Digest      string `json:"digest"` // of each chunk
	Packed      bool   `json:"packed"` // with zstd
	SWUpdate    bool   `json:"swupdate"`
	// FetchBytes and FetchChunks are what a box comes short of that runs the
	// image given with --running.
	FetchBytes  *int64 `json:"fetch_bytes,omitempty"`
	FetchChunks *int   `json:"fetch_chunks,omitempty"`
	Error       string `json:"error,omitempty"`
}

// readDeltas looks into the headers of all deltas, each once.
func (r *contents) readDeltas(a *swu.Archive, running string) error {
	for _, i := range r.Items {
		f := i.Fields
		known := slices.ContainsFunc(r.Deltas, func(d contentsDelta) bool { return d.File == f["filename"] })
		if i.Kind != swu.SectionImages || f["type"] != swu.TypeDelta || known {
			continue
		}
		d := contentsDelta{File: f["filename"], URL: f["properties.url"]}
		err := d.read(a, f, running)
		if errors.Is(err, zck.ErrDamaged) || errors.Is(err, zck.ErrUnsupported) {
			d.Error = err.Error()
		} else if err != nil {
			return err
		}
		r.Deltas = append(r.Deltas, d)
	}
	if running != "" && len(r.Deltas) == 0 {
		return cli.Usagef("--running has no effect: %s has no delta", r.File)
	}
	return nil
}

// verifyDeltas refuses an artifact with a delta that no box could use.
func verifyDeltas(f *os.File, a *swu.Archive) error {
	r, err := readContents(f, a)
	if err != nil {
		return err
	}
	if err := r.readDeltas(a, ""); err != nil {
		return err
	}
	for _, d := range r.Deltas {
		if d.Error != "" {
			return ota.NewPermanent(ota.CodeArtifactUnsupported, fmt.Errorf("cannot use delta %q: %s", d.File, d.Error))
		}
	}
	return nil
}

func (d *contentsDelta) read(a *swu.Archive, fields map[string]string, running string) error {
	entry, found := a.Entry(d.File)
	if !found {
		return fmt.Errorf("%w: the archive has no entry %q", zck.ErrDamaged, d.File)
	}
	h, err := zck.ReadHeader(a.Payload(entry), swu.MaxDeltaHeaderBytes)
	if err != nil {
		return err
	}
	d.ImageBytes, d.HeaderBytes, d.BodyBytes = h.Size, h.HeaderSize, h.BodySize
	d.Chunks, d.Digest, d.Packed = h.Len(), h.Digest.String(), h.Packed
	params := zck.ToolParams
	if fields["properties.chunk-average"] != "" {
		number := func(name string) int { v, _ := strconv.Atoi(fields["properties."+name]); return v }
		params = zck.Params{Min: number("chunk-min"), Average: number("chunk-average"), Max: number("chunk-max")}
	}
	d.Cuts = params.String()
	if err := params.Check(); err != nil {
		return fmt.Errorf("%w: %w", zck.ErrUnsupported, err)
	}
	if said := fields["properties.decompressed-size"]; said != "" && said != strconv.FormatInt(h.Size, 10) {
		return fmt.Errorf("%w: its chunks make %d bytes, the description says %s", zck.ErrDamaged, h.Size, said)
	}
	d.SWUpdate = params == zck.ToolParams && h.Packed && h.Digest == zck.SHA256
	if running == "" {
		return nil
	}
	source, err := os.Open(running)
	if err != nil {
		return err
	}
	defer source.Close()
	index := zck.NewIndex(h)
	if err := index.Scan(source, params); err != nil {
		return err
	}
	bytes, chunks := index.Cost()
	d.FetchBytes, d.FetchChunks = &bytes, &chunks
	return nil
}

// print writes what a person wants to know of a delta.
func (d *contentsDelta) print(w io.Writer) {
	fmt.Fprintf(w, "\ndelta %s\n", safe(d.File))
	fmt.Fprintf(w, "  chunks from  %s\n", safe(d.URL))
	if d.Error != "" {
		fmt.Fprintf(w, "  %s\n", safe(d.Error))
		return
	}
	how, whom := "as they are", "by otad"
	if d.Packed {
		how = "packed with zstd"
	}
	if d.SWUpdate {
		whom = "by otad and SWUpdate"
	}
	fmt.Fprintf(w, "  image        %s in %d chunks of %s, cut at %s, %s\n", cli.SizeText(d.ImageBytes), d.Chunks,
		cli.SizeText(d.ImageBytes/int64(d.Chunks)), d.Cuts, d.Digest)
	fmt.Fprintf(w, "  file         %s, chunks %s; can be used %s\n", cli.SizeText(d.HeaderBytes+d.BodyBytes), how, whom)
	if d.FetchBytes != nil {
		all := *d.FetchBytes + d.HeaderBytes
		fmt.Fprintf(w, "  to fetch     %s: %d chunks of %s, and the header in the artifact; %.1f %% of the image\n", cli.SizeText(all),
			*d.FetchChunks, cli.SizeText(*d.FetchBytes), 100*float64(all)/float64(d.ImageBytes))
	}
}
