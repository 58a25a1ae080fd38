package download_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"otad/ota"
	"otad/transport/download"
	"otad/transport/download/downloadtest"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// box is what lives on between attempts: the staging directory and the
// journal's checkpoint.
type box struct {
	t     *testing.T
	host  *downloadtest.Host
	file  *downloadtest.File
	want  downloadtest.Content
	fetch *download.Fetcher
	req   download.Request // From is kept up to date
	saves int
}

// newBox makes a box and a host with one file in good order.
func newBox(t *testing.T, want downloadtest.Content, opt download.Options) *box {
	t.Helper()
	b := &box{t: t, host: new(downloadtest.Host), want: want}
	b.file = b.host.Add("/fw/2.swu", want)
	server := httptest.NewServer(b.host)
	t.Cleanup(server.Close)
	if opt.CheckpointBytes == 0 {
		opt.CheckpointBytes = 64 * kib
	}
	if opt.Transport == nil {
		transport := download.NewTransport()
		t.Cleanup(transport.CloseIdleConnections)
		opt.Transport = transport
	}
	b.fetch = download.New(opt)
	b.req = download.Request{
		URL:      server.URL + "/fw/2.swu",
		Path:     filepath.Join(t.TempDir(), "2.swu"),
		MaxBytes: 64 * mib,
		Magic:    []byte("07070"),
		Save: func(c download.Checkpoint) error {
			b.saves++
			b.checkVouched(c)
			b.req.From = c
			return nil
		},
	}
	return b
}

// checkVouched holds a checkpoint to its word: the file has that much.
func (b *box) checkVouched(c download.Checkpoint) {
	info, err := os.Stat(b.req.Path)
	if err != nil || info.Size() < c.SyncedBytes {
		b.t.Errorf("checkpoint vouches for %d bytes; file: %v, %v", c.SyncedBytes, info, err)
	}
}

func (b *box) attempt() error {
	n, err := b.fetch.Fetch(b.t.Context(), b.req)
	if err == nil && n != b.want.SizeBytes {
		b.t.Errorf("size is %d, want %d", n, b.want.SizeBytes)
	}
	return err
}

// mustAttempt fetches and compares every byte.
func (b *box) mustAttempt() {
	b.t.Helper()
	if err := b.attempt(); err != nil {
		b.t.Fatalf("Fetch: %v", err)
	}
	b.mustBeWhole()
}

func (b *box) mustBeWhole() {
	b.t.Helper()
	if at := differs(b.t, b.req.Path, b.want); at >= 0 {
		b.t.Fatalf("the file differs at byte %d", at)
	}
	if !b.req.From.Complete() {
		b.t.Errorf("last checkpoint %+v is not complete", b.req.From)
	}
}

// mustFail expects an attempt to end with a class and a code.
func (b *box) mustFail(class ota.Class, code ota.Code) *ota.Fault {
	b.t.Helper()
	err := b.attempt()
	if err == nil {
		b.t.Fatalf("Fetch succeeded, want %s %s", class, code)
	}
	fault := ota.FaultOf(err)
	if fault.Class != class || fault.Code != code {
		b.t.Fatalf("Fetch: %s %s (%v), want %s %s", fault.Class, fault.Code, err, class, code)
	}
	return fault
}

// offsets are where the answers began.
func (b *box) mustOffsets(want ...int64) {
	b.t.Helper()
	got := b.file.Stats().Offsets
	if len(got) != len(want) {
		b.t.Fatalf("answers began at %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			b.t.Fatalf("answers began at %v, want %v", got, want)
		}
	}
}

// half brings the first half of the file and loses the connection.
func (b *box) half() int64 {
	b.t.Helper()
	for b.file.Stats().Active > 0 { // an answer that nobody reads would take the cut
		time.Sleep(time.Millisecond)
	}
	b.file.Set(downloadtest.Faults{Cut: &downloadtest.Cut{At: b.want.SizeBytes / 2, Times: 1}})
	b.mustFail(ota.Transient, ota.CodeDownloadNetwork)
	b.file.Set(downloadtest.Faults{})
	if got := b.req.From.SyncedBytes; got != b.want.SizeBytes/2 {
		b.t.Fatalf("checkpoint after the cut is at %d, want %d", got, b.want.SizeBytes/2)
	}
	return b.req.From.SyncedBytes
}

// differs returns the first offset at which the file is not want, -1 for none.
func differs(t *testing.T, path string, want downloadtest.Content) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, exp := make([]byte, 64*kib), make([]byte, 64*kib)
	for at := int64(0); ; {
		n, err := io.ReadFull(f, got)
		m, _ := want.ReadAt(exp, at)
		if n != m || !bytes.Equal(got[:n], exp[:m]) {
			for i := range min(n, m) {
				if got[i] != exp[i] {
					return at + int64(i)
				}
			}
			return at + int64(min(n, m))
		}
		at += int64(n)
		if err != nil {
			return -1
		}
	}
}

func TestWholeFile(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{1, 5, 64, 511, 4096, 3*mib + 17} {
		b := newBox(t, downloadtest.Pattern(size, 1), download.Options{})
		if size < 5 {
			b.req.Magic = nil
		}
		var last download.Progress
		b.req.Progress = func(p download.Progress) { last = p }
		b.mustAttempt()
		if last.DoneBytes != size || last.TotalBytes != size {
			t.Errorf("last progress is %+v, want %d of %d", last, size, size)
		}
		requests := b.file.Stats().Requests
		b.mustAttempt()
		if got := b.file.Stats().Requests; got != requests || requests != 1 {
			t.Errorf("a whole file took %d requests, and %d to find that it is whole", requests, got-requests)
		}
	}
}

func TestResumeFromCheckpoint(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(t *testing.T, path string, synced int64) // what happened to the tail
	}{
		{"as it was", func(*testing.T, string, int64) {}},
		{"zeros behind", func(t *testing.T, path string, synced int64) { overwrite(t, path, synced, make([]byte, mib)) }},
		{"garbage behind", func(t *testing.T, path string, synced int64) {
			overwrite(t, path, synced, bytes.Repeat([]byte("garbage"), 9999))
		}},
		{"garbage to beyond the end", func(t *testing.T, path string, synced int64) {
			overwrite(t, path, synced, bytes.Repeat([]byte("x"), 3*mib))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, downloadtest.Pattern(2*mib, 2), download.Options{})
			synced := b.half()
			tt.spoil(t, b.req.Path, synced)
			b.mustAttempt()
			b.mustOffsets(0, synced)
		})
	}
}

func overwrite(t *testing.T, path string, at int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
}

// TestFreshStart: what is stored cannot be continued, and the attempt brings
// the whole file from zero.
func TestFreshStart(t *testing.T) {
	t.Parallel()
	other := downloadtest.Pattern(2*mib, 99)
	longer := downloadtest.Pattern(3*mib, 98)
	shorter := downloadtest.Pattern(mib/2, 97)
	tests := []struct {
		name     string
		first    downloadtest.Faults // when the first half comes
		then     func(b *box)
		requests int64 // of the second attempt
	}{
		{"200 although ranges are advertised", downloadtest.Faults{}, func(b *box) { b.file.Set(downloadtest.Faults{IgnoreRange: true}) }, 1},
		{"server without ranges", downloadtest.Faults{NoRanges: true}, func(b *box) { b.file.Set(downloadtest.Faults{NoRanges: true}) }, 1},
		{"Content-Range from elsewhere", downloadtest.Faults{}, func(b *box) { b.file.Set(downloadtest.Faults{WrongContentRange: true}) }, 2},
		{"changed", downloadtest.Faults{}, func(b *box) { b.replace(other) }, 1},
		{"changed, server ignores If-Range", downloadtest.Faults{}, func(b *box) { b.replace(other); b.file.Set(downloadtest.Faults{IgnoreIfRange: true}) }, 2},
		{"longer, server ignores If-Range", downloadtest.Faults{}, func(b *box) { b.replace(longer); b.file.Set(downloadtest.Faults{IgnoreIfRange: true}) }, 2},
		{"shorter: 416", downloadtest.Faults{}, func(b *box) { b.replace(shorter); b.file.Set(downloadtest.Faults{IgnoreIfRange: true}) }, 2},
		{"same ETag, other size", downloadtest.Faults{}, func(b *box) {
			b.replace(downloadtest.Content{ReaderAt: longer, SizeBytes: longer.SizeBytes, ETag: b.want.ETag})
		}, 2},
		{"no validators", downloadtest.Faults{NoValidators: true}, func(b *box) { b.file.Set(downloadtest.Faults{NoValidators: true}) }, 1},
		{"weak ETag", downloadtest.Faults{WeakETag: true}, func(b *box) { b.file.Set(downloadtest.Faults{WeakETag: true}) }, 1},
		{"Last-Modified too fresh", downloadtest.Faults{FreshLastModified: true}, func(b *box) {}, 1},
		{"validators gone", downloadtest.Faults{}, func(b *box) { b.file.Set(downloadtest.Faults{NoValidators: true}) }, 1},
		{"file lost", downloadtest.Faults{}, func(b *box) { os.Remove(b.req.Path) }, 1},
		{"file shorter than its checkpoint", downloadtest.Faults{}, func(b *box) { os.Truncate(b.req.Path, b.req.From.SyncedBytes-1) }, 1},
		{"checkpoint without a validator", downloadtest.Faults{}, func(b *box) { b.req.From.Validator = "" }, 1},
		{"checkpoint of another URL", downloadtest.Faults{}, func(b *box) { b.req.From.URL += "?other" }, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, downloadtest.Pattern(2*mib, 3), download.Options{})
			tt.first.Cut = &downloadtest.Cut{At: mib, Times: 1}
			b.file.Set(tt.first)
			b.mustFail(ota.Transient, ota.CodeDownloadNetwork)
			b.file.Set(downloadtest.Faults{})
			tt.then(b)
			before := b.file.Stats().Requests
			b.mustAttempt()
			if got := b.file.Stats().Requests - before; got != tt.requests {
				t.Errorf("took %d requests, want %d", got, tt.requests)
			}
		})
	}
}

func (b *box) replace(c downloadtest.Content) {
	b.file.Replace(c)
	b.want = c
}

// TestCheckpointIsWithdrawnFirst: a power cut between cutting the prefix off
// and saying so would leave a checkpoint that vouches for other bytes.
func TestCheckpointIsWithdrawnFirst(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(2*mib, 16), download.Options{})
	synced := b.half()
	b.replace(downloadtest.Pattern(2*mib, 17))
	save, first := b.req.Save, true
	b.req.Save = func(c download.Checkpoint) error {
		if first {
			first = false
			info, err := os.Stat(b.req.Path)
			if c.SyncedBytes != 0 || err != nil || info.Size() != synced {
				t.Errorf("first checkpoint is %+v, the file then has %v", c, info)
			}
		}
		return save(c)
	}
	b.mustAttempt()
}

func TestLastModifiedResumes(t *testing.T) {
	t.Parallel()
	want := downloadtest.Pattern(2*mib, 4)
	want.ETag = "" // an empty header is none
	b := newBox(t, want, download.Options{})
	synced := b.half()
	b.mustAttempt()
	b.mustOffsets(0, synced)
}

// TestRefused: an answer that must not be stored. The prefix at hand survives
// all of them.
func TestRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		faults downloadtest.Faults
		class  ota.Class
		code   ota.Code
	}{
		{"403", downloadtest.Faults{Status: 403}, ota.Permanent, ota.CodeFirmwareMissing},
		{"404", downloadtest.Faults{Status: 404}, ota.Permanent, ota.CodeFirmwareMissing},
		{"410", downloadtest.Faults{Status: 410}, ota.Permanent, ota.CodeFirmwareMissing},
		{"401", downloadtest.Faults{Status: 401}, ota.Transient, ota.CodeDownloadHTTP},
		{"429", downloadtest.Faults{Status: 429}, ota.Transient, ota.CodeDownloadHTTP},
		{"500", downloadtest.Faults{Status: 500}, ota.Transient, ota.CodeDownloadHTTP},
		{"511", downloadtest.Faults{Status: 511}, ota.Transient, ota.CodeFirmwareHTML},
		{"web page", downloadtest.Faults{HTML: true}, ota.Transient, ota.CodeFirmwareHTML},
		{"redirect loop", downloadtest.Faults{RedirectSelf: true}, ota.Transient, ota.CodeDownloadHTTP},
		{"redirect to another scheme", downloadtest.Faults{Redirect: "ftp://u:hush@h/x"}, ota.Transient, ota.CodeDownloadHTTP},
		{"begins with something else", downloadtest.Faults{NoRanges: true, Flip: []int64{0}}, ota.Transient, ota.CodeArtifactDamaged},
		{"endless", downloadtest.Faults{Endless: true, Flip: []int64{0}}, ota.Transient, ota.CodeArtifactDamaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, downloadtest.Pattern(mib, 5), download.Options{})
			b.file.Set(tt.faults)
			b.mustFail(tt.class, tt.code)
			if info, err := os.Stat(b.req.Path); err != nil || info.Size() != 0 {
				t.Errorf("something was stored: %v, %v", info, err)
			}
			synced := b.half()
			b.file.Set(tt.faults)
			b.mustFail(tt.class, tt.code)
			b.file.Set(downloadtest.Faults{})
			b.mustAttempt()
			offsets := b.file.Stats().Offsets
			if last := offsets[len(offsets)-1]; last != synced {
				t.Errorf("resumed from %d, want %d", last, synced)
			}
		})
	}
}

func TestEmptyAnswer(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Bytes(nil), download.Options{})
	b.mustFail(ota.Transient, ota.CodeDownloadNetwork)
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]downloadtest.Faults{
		"declared": {}, "undeclared": {NoLength: true}, "endless": {Endless: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, downloadtest.Pattern(2*mib, 6), download.Options{})
			b.req.MaxBytes = mib
			b.file.Set(faults)
			b.mustFail(ota.Permanent, ota.CodeFirmwareTooLarge)
			info, err := os.Stat(b.req.Path)
			if err != nil || info.Size() > mib {
				t.Errorf("stored more than allowed: %v, %v", info, err)
			}
		})
	}
}

func TestNoSpaceBeforeTheFirstByte(t *testing.T) {
	t.Parallel()
	const reserve = int64(1) << 55 // no disk has that much
	b := newBox(t, downloadtest.Pattern(mib, 7), download.Options{ReserveBytes: reserve})
	fault := b.mustFail(ota.Transient, ota.CodeNoSpace)
	var no *download.NoSpaceError
	if !errors.As(fault, &no) || no.NeedBytes != mib+reserve || no.FreeBytes <= 0 || no.FreeBytes >= no.NeedBytes {
		t.Errorf("cause is %+v", no)
	}
}

func TestUnknownLength(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(2*mib, 8), download.Options{})
	b.file.Set(downloadtest.Faults{NoLength: true, Cut: &downloadtest.Cut{At: mib, Times: 1}})
	b.mustFail(ota.Transient, ota.CodeDownloadNetwork)
	synced := b.req.From.SyncedBytes
	b.mustAttempt() // the continuation tells the size
	b.mustOffsets(0, synced)
}

func TestChangesAgainAndAgain(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(mib, 10), download.Options{})
	for seed := range uint64(4) {
		next := downloadtest.Pattern(mib, 20+seed)
		b.file.Set(downloadtest.Faults{Change: &downloadtest.Change{At: mib / 2, To: next}})
		if seed == 0 {
			b.mustFail(ota.Transient, ota.CodeDownloadNetwork)
			continue
		}
		b.mustFail(ota.Transient, ota.CodeDownloadNetwork)
		if b.req.From.Changes != int(seed) {
			t.Fatalf("checkpoint counts %d changes, want %d", b.req.From.Changes, seed)
		}
	}
	b.mustFail(ota.Permanent, ota.CodeFirmwareChanged)
}

func TestRetryAfterIsCarried(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(kib, 11), download.Options{})
	b.file.Set(downloadtest.Faults{Busy: 1, RetryAfter: 7 * time.Second})
	if fault := b.mustFail(ota.Transient, ota.CodeDownloadHTTP); fault.RetryAfter != 7*time.Second {
		t.Errorf("RetryAfter is %v", fault.RetryAfter)
	}
	b.mustAttempt()
}

func TestCancelLeavesResumableState(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(4*mib, 12), download.Options{CheckpointBytes: 64 * mib})
	ctx, cancel := context.WithCancel(t.Context())
	b.file.Set(downloadtest.Faults{Rate: 8 * mib})
	// Cancelled from outside, once the host has sent a part.
	go func() {
		for b.file.Stats().BytesServed < mib {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := b.fetch.Fetch(ctx, b.req)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Fetch: %v, want context.Canceled", err)
	}
	synced := b.req.From.SyncedBytes
	if synced == 0 {
		t.Fatal("no checkpoint was left")
	}
	b.file.Set(downloadtest.Faults{})
	b.mustAttempt()
	b.mustOffsets(0, synced)
}

func TestSaveFails(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(mib, 13), download.Options{})
	b.req.Save = func(download.Checkpoint) error { return errors.New("journal is full") }
	b.mustFail(ota.Transient, ota.CodeJournal)
	broken := ota.NewPermanent(ota.CodeJournalDamaged, errors.New("cannot write"))
	b.req.Save = func(download.Checkpoint) error { return broken }
	b.mustFail(ota.Permanent, ota.CodeJournalDamaged)
}

func TestStagingDirectoryMissing(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(kib, 14), download.Options{})
	b.req.Path = filepath.Join(t.TempDir(), "no", "such", "dir")
	b.mustFail(ota.Transient, ota.CodeBoard)
	b.req.Path = t.TempDir()
	b.mustFail(ota.Transient, ota.CodeBoard)
}

func TestCheckpointDistance(t *testing.T) {
	t.Parallel()
	b := newBox(t, downloadtest.Pattern(4*mib, 15), download.Options{CheckpointBytes: 1})
	b.mustAttempt()
	if b.saves > 20 {
		t.Errorf("%d checkpoints for one file, at most one every 5 %% is wanted", b.saves)
	}
}
