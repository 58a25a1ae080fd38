package download_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"otad/ota"
	"otad/transport/download"
	"otad/transport/download/downloadtest"
)

// rangesBox reads pieces of a file of 8 MiB.
type rangesBox struct {
	t       *testing.T
	host    *downloadtest.Host
	file    *downloadtest.File
	want    downloadtest.Content
	spans   download.Spans
	opt     download.Options
	fetched int64
	failed  []ota.Code // what passed
}

func newRangesBox(t *testing.T, wanted []ota.Span) *rangesBox {
	t.Helper()
	b := &rangesBox{t: t, host: new(downloadtest.Host), want: downloadtest.Pattern(8*mib, 50)}
	b.file = b.host.Add("/x.zck", b.want)
	server := httptest.NewServer(b.host)
	t.Cleanup(server.Close)
	transport := download.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	b.opt.Transport = transport
	b.spans = download.Spans{URL: server.URL + "/x.zck", TotalBytes: b.want.SizeBytes, Wanted: wanted, Magic: []byte(downloadtest.Head),
		WholeBytes: b.want.SizeBytes, Fetched: func(n int) { b.fetched += int64(n) }}
	return b
}

// scattered are pieces all over the file: a few near to each other, most not.
func scattered() (list []ota.Span) {
	random := rand.New(rand.NewPCG(1, 2))
	for at := int64(1000); ; {
		s := ota.Span{Offset: at, Length: 1 + random.Int64N(9000)}
		if s.End() > 8*mib {
			return list
		}
		list = append(list, s)
		at = s.End()
		if random.IntN(4) > 0 {
			at += random.Int64N(100_000)
		}
	}
}

func sizeOf(list []ota.Span) (n int64) {
	for _, s := range list {
		n += s.Length
	}
	return n
}

// read reads all that is wanted, and compares.
func (b *rangesBox) read() error {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	spans := b.spans
	spans.Wanted = slices.Clone(b.spans.Wanted)
	r, err := download.New(b.opt).Ranges(ctx, spans, func(_ context.Context, failures int, cause *ota.Fault) error {
		b.failed = append(b.failed, cause.Code)
		if failures > 5 {
			return cause
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer r.Close()
	for _, s := range b.spans.Wanted {
		got, want := make([]byte, s.Length), make([]byte, s.Length)
		if _, err := io.ReadFull(r, got); err != nil {
			return err
		}
		if _, err := b.want.ReadAt(want, s.Offset); err != nil && err != io.EOF {
			b.t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			b.t.Fatalf("the piece at %d of %d bytes differs", s.Offset, s.Length)
		}
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		b.t.Errorf("behind the last piece: %d, %v", n, err)
	}
	return nil
}

func (b *rangesBox) mustRead() {
	b.t.Helper()
	if err := b.read(); err != nil {
		b.t.Fatalf("read: %v", err)
	}
}

// TestRanges: whatever a server makes of several ranges, the pieces come; the
// price is bounded.
func TestRanges(t *testing.T) {
	t.Parallel()
	cut := &downloadtest.Cut{At: 4 * mib, Times: 3, Reset: true}
	tests := []struct {
		name     string
		faults   downloadtest.Faults
		requests int64 // at most
		spare    int64 // bytes at most that nobody wanted
		failures int   // -1: some; an answer that nobody reads may take a cut
	}{
		{"in good order", downloadtest.Faults{}, 5, 20 * kib, 0},
		{"first only", downloadtest.Faults{Many: downloadtest.FirstOnly}, 250, mib, 0},
		{"first half", downloadtest.Faults{Many: downloadtest.FirstHalf}, 20, 20 * kib, 0},
		{"joined", downloadtest.Faults{Many: downloadtest.Joined}, 5, 8 * mib, 0},
		{"backwards", downloadtest.Faults{Many: downloadtest.Backwards}, 250, mib, 0},
		{"twice", downloadtest.Faults{Many: downloadtest.Twice}, 250, 2 * mib, 0},
		{"wider", downloadtest.Faults{Many: downloadtest.Wider}, 5, 100 * kib, 0},
		{"whole of many", downloadtest.Faults{Many: downloadtest.WholeOfMany}, 250, mib, 0},
		{"refused", downloadtest.Faults{Many: downloadtest.Refused}, 250, mib, 0},
		{"elsewhere", downloadtest.Faults{Many: downloadtest.Elsewhere}, 5, 20 * kib, 0},
		{"no headers", downloadtest.Faults{Many: downloadtest.NoHeaders}, 250, mib, 0},
		{"long line", downloadtest.Faults{Many: downloadtest.LongLine}, 250, mib, 0},
		{"endless", downloadtest.Faults{Many: downloadtest.Endlessly}, 250, mib, 0},
		{"no ranges", downloadtest.Faults{NoRanges: true}, 2, 8 * mib, 0},
		{"ranges ignored", downloadtest.Faults{IgnoreRange: true}, 2, 8 * mib, 0},
		{"no length", downloadtest.Faults{NoRanges: true, NoLength: true}, 2, 8 * mib, 0},
		{"another validator each time", downloadtest.Faults{FreshLastModified: true, NoValidators: true}, 5, 20 * kib, 0},
		{"cut three times", downloadtest.Faults{Cut: cut}, 12, 20 * kib, 3},
		{"cut three times, first only", downloadtest.Faults{Cut: cut, Many: downloadtest.FirstOnly}, 253, mib, 3},
		{"cut three times, no ranges", downloadtest.Faults{Cut: cut, NoRanges: true}, 5, 20 * mib, -1},
		{"cut after each 100 KiB", downloadtest.Faults{Cut: &downloadtest.Cut{At: 100 * kib, After: true, Times: 5}}, 20, 20 * kib, 5},
		{"busy", downloadtest.Faults{Busy: 2}, 7, 20 * kib, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newRangesBox(t, scattered())
			b.file.Set(tt.faults)
			b.mustRead()
			stats := b.file.Stats()
			if stats.Requests > tt.requests {
				t.Errorf("%d requests, want %d at most", stats.Requests, tt.requests)
			}
			if spare := b.fetched - sizeOf(b.spans.Wanted); spare > tt.spare {
				t.Errorf("%d bytes came that nobody wanted, want %d at most", spare, tt.spare)
			}
			if n := len(b.failed); n != tt.failures && (tt.failures >= 0 || n == 0) {
				t.Errorf("failed with %v, want %d times", b.failed, tt.failures)
			}
			t.Logf("%d wanted, %d came, %d served, %d requests", sizeOf(b.spans.Wanted), b.fetched, stats.BytesServed, stats.Requests)
		})
	}
}

// TestRangesAreOneWhenManyAreDear: the pieces with all between them.
func TestRangesAreOneWhenManyAreDear(t *testing.T) {
	t.Parallel()
	var wanted []ota.Span
	for at := int64(5000); at < 8*mib-1000; at += 1000 {
		wanted = append(wanted, ota.Span{Offset: at, Length: 950})
	}
	b := newRangesBox(t, wanted)
	b.mustRead()
	if s := b.file.Stats(); s.Requests != 1 || s.Offsets[0] != 5000 {
		t.Errorf("%d requests, answers from %v; want one from byte 5000", s.Requests, s.Offsets)
	}
}

func TestRangesFail(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(b *rangesBox)
		class ota.Class
		code  ota.Code
		hint  string
	}{
		{"no ranges, and the whole is too dear", func(b *rangesBox) {
			b.file.Set(downloadtest.Faults{NoRanges: true})
			b.spans.WholeBytes--
		}, ota.Permanent, ota.CodeFirmwareNoRanges, "delta_whole"},
		{"another size", func(b *rangesBox) { b.file.Replace(downloadtest.Pattern(8*mib+1, 50)) }, ota.Permanent, ota.CodeArtifactHash, "never replace"},
		{"another size, no ranges", func(b *rangesBox) {
			b.file.Replace(downloadtest.Pattern(8*mib+1, 50))
			b.file.Set(downloadtest.Faults{NoRanges: true})
		}, ota.Permanent, ota.CodeArtifactHash, "never replace"},
		{"a shorter file", func(b *rangesBox) { b.file.Replace(downloadtest.Pattern(1000, 50)) }, ota.Permanent, ota.CodeArtifactHash, "never replace"},
		{"another size in the parts", func(b *rangesBox) { b.file.Set(downloadtest.Faults{Many: downloadtest.OtherTotal}) },
			ota.Permanent, ota.CodeArtifactHash, "never replace"},
		{"not there", func(b *rangesBox) { b.file.Set(downloadtest.Faults{Status: 404}) }, ota.Permanent, ota.CodeFirmwareMissing, "exists"},
		{"forbidden", func(b *rangesBox) { b.file.Set(downloadtest.Faults{Status: 403}) }, ota.Permanent, ota.CodeFirmwareMissing, "exists"},
		{"captive portal", func(b *rangesBox) { b.file.Set(downloadtest.Faults{HTML: true}) }, ota.Transient, ota.CodeFirmwareHTML, "portal"},
		{"something else with a 200", func(b *rangesBox) {
			b.file.Replace(downloadtest.Bytes(bytes.Repeat([]byte("sign in please "), 1000)))
			b.file.Set(downloadtest.Faults{NoRanges: true})
		}, ota.Transient, ota.CodeArtifactDamaged, ""},
		{"dead for good", func(b *rangesBox) { b.host.Away(time.Hour) }, ota.Transient, ota.CodeDownloadNetwork, ""},
		{"silent", func(b *rangesBox) { b.host.Silent(time.Minute); b.opt.LowSpeedTime = 50 * time.Millisecond }, ota.Transient, ota.CodeDownloadStalled, ""},
		{"trickles", func(b *rangesBox) {
			b.file.Set(downloadtest.Faults{Rate: 1000})
			b.opt.LowSpeedTime = 50 * time.Millisecond
		}, ota.Transient, ota.CodeDownloadStalled, ""},
		{"wrong ranges", func(b *rangesBox) { b.serve(http.StatusPartialContent, "bytes 5-9/8388608", "07070") }, ota.Transient, ota.CodeDownloadHTTP, ""},
		{"no Content-Range", func(b *rangesBox) { b.serve(http.StatusPartialContent, "", "07070") }, ota.Transient, ota.CodeDownloadHTTP, ""},
		{"a URL that is none", func(b *rangesBox) { b.spans.URL = "x.zck" }, ota.Permanent, ota.CodeOfferBad, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newRangesBox(t, scattered())
			tt.spoil(b)
			err := b.read()
			if err == nil {
				t.Fatal("it was read")
			}
			f := ota.FaultOf(err)
			if f.Class != tt.class || f.Code != tt.code || !strings.Contains(f.Hint, tt.hint) {
				t.Errorf("%s %s: %v (hint %q), want %s %s", f.Class, f.Code, err, f.Hint, tt.class, tt.code)
			}
			if f.Class == ota.Transient && len(b.failed) != 6 {
				t.Errorf("tried %d times, want 6", len(b.failed))
			}
		})
	}
}

// serve answers everything with the same.
func (b *rangesBox) serve(status int, contentRange, body string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if contentRange != "" {
			w.Header().Set("Content-Range", contentRange)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	b.t.Cleanup(server.Close)
	b.spans.URL = server.URL
}

// TestRangesKeepConnections: the next request goes over the same one.
func TestRangesKeepConnections(t *testing.T) {
	t.Parallel()
	b := newRangesBox(t, scattered())
	var peers atomic.Int64
	seen := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !seen[r.RemoteAddr] { // one request at a time
			seen[r.RemoteAddr] = true
			peers.Add(1)
		}
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(b.want, 0, b.want.SizeBytes)) // as a server of others does it
	}))
	t.Cleanup(server.Close)
	b.spans.URL = server.URL
	b.mustRead()
	if n := peers.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// TestRangesClose ends a Read that waits.
func TestRangesClose(t *testing.T) {
	t.Parallel()
	b := newRangesBox(t, scattered())
	b.host.Silent(time.Minute)
	r, err := download.New(b.opt).Ranges(t.Context(), b.spans, func(context.Context, int, *ota.Fault) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { r.Close() })
	if _, err := r.Read(make([]byte, 9)); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
}
