package swu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestOpenReadsWhatCpioHolds(t *testing.T) {
	t.Parallel()
	for _, magic := range []string{magicPlain, magicChecksum} {
		b := build(magic, file{DescriptionName, "d"}, file{SignatureName, "sig"}, file{"a/b.img", "payload"}, file{"empty", ""})
		a := open(t, b)
		d, s := a.DescriptionUnverified()
		if string(d) != "d" || string(s) != "sig" {
			t.Errorf("description %q, signature %q", d, s)
		}
		e, ok := a.Entry("a/b.img")
		if !ok || e.SizeBytes != 7 || e.HasChecksum != (magic == magicChecksum) {
			t.Fatalf("entry %+v, %v", e, ok)
		}
		if got, err := io.ReadAll(a.Payload(e)); string(got) != "payload" || err != nil {
			t.Errorf("payload %q, %v", got, err)
		}
		if _, ok := a.Entry("none"); ok || len(a.Entries()) != 4 {
			t.Errorf("entries %v", a.Entries())
		}
	}
}

func TestOpenTakesUpperCaseHex(t *testing.T) {
	t.Parallel()
	b := build(magicChecksum, file{DescriptionName, strings.Repeat("x", 171)})
	upper := append([]byte(nil), b...)
	copy(upper[:headerBytes], bytes.ToUpper(b[:headerBytes]))
	if bytes.Equal(upper, b) {
		t.Fatal("the header has no letters")
	}
	open(t, upper)
}

func TestOpenRefusesDamage(t *testing.T) {
	t.Parallel()
	good := build(magicChecksum, file{DescriptionName, "description"}, file{SignatureName, "signature"}, file{"img", "12345"})
	change := func(at int, b string) []byte {
		c := append([]byte(nil), good...)
		copy(c[at:], b)
		return c
	}
	two := func(name string) []byte { return build(magicPlain, file{DescriptionName, "d"}, file{name, "x"}) }
	many := make([]file, maxEntries+1)
	for i := range many {
		many[i].name = fmt.Sprint("f", i)
	}
	many[0].name = DescriptionName
	tests := []struct {
		name  string
		bytes []byte
		kind  Kind
		words string
	}{
		{"empty file", nil, Damaged, "ends early"},
		{"only a trailer", build(magicPlain), Damaged, "empty"},
		{"not cpio", []byte(strings.Repeat("<html>", 50)), Damaged, "no cpio header"},
		{"old binary cpio", change(0, "070707"), Damaged, "no cpio header"},
		{"field not hexadecimal", change(6+8*3, "0000000g"), Damaged, "field 3"},
		{"size not hexadecimal", change(6+8*fieldSize, "-0000001"), Damaged, "not hexadecimal"},
		{"size beyond the end", change(6+8*fieldSize, "0000ffff"), Damaged, "ends early"},
		{"size beyond the cap", change(6+8*fieldSize, "7fffffff"), Damaged, "limit"},
		{"name of zero bytes", change(6+8*fieldName, "00000000"), Damaged, "name has 0"},
		{"name too long", change(6+8*fieldName, "00000100"), Damaged, "name has 256"},
		{"name not terminated", change(6+8*fieldName, "0000000e"), Damaged, "NUL-terminated"},
		{"check sum of the description", change(6+8*fieldCheck, "00000001"), Damaged, "check sum"},
		{"description changed", bytes.Replace(good, []byte("\x00description"), []byte("\x00Description"), 1), Damaged, "check sum"},
		{"padding not zero", change(headerBytes+len(DescriptionName)+2, "x"), Damaged, ""},
		{"data after the end", append(good[:len(good):len(good)], "more"...), Damaged, "after the end"},
		{"padding without end", append(good[:len(good):len(good)], make([]byte, maxTailBytes+1)...), Damaged, "padding"},
		{"description not first", build(magicPlain, file{"img", "x"}, file{DescriptionName, "d"}), Damaged, "first entry"},
		{"signature not second", build(magicPlain, file{DescriptionName, "d"}, file{"img", "x"}, file{SignatureName, "s"}), BadSignature, "second entry"},
		{"two entries of one name", build(magicPlain, file{DescriptionName, "d"}, file{"img", "x"}, file{"img", "y"}), Damaged, "twice"},
		{"two descriptions", two(DescriptionName), Damaged, "twice"},
		{"absolute name", two("/etc/passwd"), Damaged, "not allowed"},
		{"name that leaves", two("../x"), Damaged, "not allowed"},
		{"name that leaves inside", two("a/../../x"), Damaged, "not allowed"},
		{"name that leaves at the end", two("a/.."), Damaged, "not allowed"},
		{"name with a control character", two("a\x1b[2J"), Damaged, "not allowed"},
		{"name with a NUL", two("a\x00b"), Damaged, "NUL"},
		{"too many entries", build(magicPlain, many...), Damaged, "entries"},
		{"description too large", build(magicPlain, file{DescriptionName, strings.Repeat(" ", MaxDescriptionBytes+1)}), Damaged, "limit"},
		{"signature too large", build(magicPlain, file{DescriptionName, "d"}, file{SignatureName, strings.Repeat(" ", MaxSignatureBytes+1)}), Damaged, "limit"},
		{"trailer with data", bytes.Replace(good, []byte(fmt.Sprintf("%08x%08x%08x%08x%08x%08x%08x", 0, 8, 1, 0, 0, len(trailerName)+1, 0)),
			[]byte(fmt.Sprintf("%08x%08x%08x%08x%08x%08x%08x", 4, 8, 1, 0, 0, len(trailerName)+1, 0)), 1), Damaged, "trailer has data"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(bytes.NewReader(tt.bytes), int64(len(tt.bytes)))
			wantError(t, err, tt.kind, tt.words)
		})
	}
}

// Whatever byte an artifact is cut at, it must not pass for whole.
func TestEveryTruncationIsRefused(t *testing.T) {
	t.Parallel()
	b := artifact(t, "some payload")
	end := bytes.LastIndex(b, []byte(trailerName)) + len(trailerName) + 1
	step := 1
	if raceEnabled {
		step = 7
	}
	for n := 0; n < end; n += step {
		if _, _, err := install(t, b[:n], theWorld().trust, box); KindOf(err) != Damaged {
			t.Fatalf("cut at %d of %d: %v", n, len(b), err)
		}
	}
}

// Whatever bit flips in an artifact, either it is refused or what would be
// installed is the same: the flip was in a header field that nobody reads.
func TestEveryBitFlipIsRefusedOrHarmless(t *testing.T) {
	t.Parallel()
	const payload = "the payload of an image"
	b := artifact(t, payload)
	harmless, step := 0, 1
	if raceEnabled {
		step = 17
	}
	for i := 0; i < len(b); i += step {
		for bit := range 8 {
			c := append([]byte(nil), b...)
			c[i] ^= 1 << bit
			p, a, err := install(t, c, theWorld().trust, box)
			if err != nil {
				if KindOf(err) == "" {
					t.Fatalf("bit %d of byte %d: untyped error %v", bit, i, err)
				}
				continue
			}
			harmless++
			e, _ := a.Entry(p.Images[0].Filename)
			if got, _ := io.ReadAll(a.Payload(e)); string(got) != payload {
				t.Fatalf("bit %d of byte %d changed what is installed: %q", bit, i, got)
			}
		}
	}
	t.Logf("%d of %d flips were harmless", harmless, 8*len(b)/step)
}

func TestByteSum(t *testing.T) {
	t.Parallel()
	full := bytes.Repeat([]byte{0xff}, 5000)
	for _, b := range [][]byte{full, sample(5000)} {
		var want uint32
		for n := range b {
			if got := byteSum(b[:n]); got != want {
				t.Fatalf("the sum of %d bytes is %d, want %d", n, got, want)
			}
			want += uint32(b[n])
		}
	}
}

func TestReaderStreams(t *testing.T) {
	t.Parallel()
	b := build(magicChecksum, file{DescriptionName, "description"}, file{"skipped", "12345"}, file{"half", "abcdefgh"}, file{"last", "z"})
	c := NewReader(iotest.OneByteReader(bytes.NewReader(b)))
	var names []string
	for {
		e, err := c.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		names = append(names, e.Name)
		switch e.Name {
		case DescriptionName, "last":
			_, err = io.ReadAll(c)
		case "half":
			_, err = io.ReadFull(c, make([]byte, 4))
		}
		must(t, err)
	}
	if got := strings.Join(names, " "); got != "sw-description skipped half last" {
		t.Errorf("entries %q", got)
	}
	if _, err := c.Next(); err != io.EOF {
		t.Errorf("Next after the end: %v", err)
	}
}

func TestReaderVerifiesWhatIsSkipped(t *testing.T) {
	t.Parallel()
	b := build(magicChecksum, file{"img", "12345"}, file{"last", "z"})
	b = bytes.Replace(b, []byte("12345"), []byte("12346"), 1)
	c := NewReader(bytes.NewReader(b))
	_, err := c.Next()
	must(t, err)
	_, err = c.Next()
	wantError(t, err, Damaged, `"img"`, "check sum")
	if _, again := c.Next(); again != err {
		t.Errorf("the error does not stick: %v", again)
	}
}

func TestSourceErrorsKeepTheirIdentity(t *testing.T) {
	t.Parallel()
	broken := errors.New("wire cut")
	b := build(magicChecksum, file{"img", "12345"})
	for n := range len(b) - 1 {
		c := NewReader(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(broken)))
		var err error
		for err == nil {
			_, err = c.Next()
		}
		if !errors.Is(err, broken) || KindOf(err) != "" {
			t.Fatalf("source fails at %d: %v", n, err)
		}
	}
}

// sparse is an artifact of any size that takes no room: head, a payload of
// zeros, tail.
type sparse struct {
	head, tail []byte
	zeros      int64
}

func (s sparse) size() int64 { return int64(len(s.head)) + s.zeros + int64(len(s.tail)) }

func (s sparse) ReadAt(p []byte, off int64) (n int, err error) {
	if off >= s.size() {
		return 0, io.EOF
	}
	tailAt := int64(len(s.head)) + s.zeros
	switch {
	case off < int64(len(s.head)):
		n = copy(p, s.head[off:])
	case off < tailAt:
		n = int(min(int64(len(p)), tailAt-off))
		clear(p[:n])
	default:
		n = copy(p, s.tail[off-tailAt:])
	}
	if n < len(p) && off+int64(n) < s.size() {
		m, err := s.ReadAt(p[n:], off+int64(n))
		return n + m, err
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

func TestMemoryStaysFlat(t *testing.T) {
	size := int64(2 << 30)
	if testing.Short() || raceEnabled {
		size = 128 << 20
	}
	const mark = "here are the zeros"
	w := theWorld()
	stored, err := Compress(io.Discard, io.LimitReader(zeros{}, size), KindNone)
	must(t, err)
	m := Manifest{Version: "2", Model: "stv1", Payloads: []Payload{{Filename: "img", Stored: stored, Content: io.LimitReader(zeros{}, 0)}}}
	d, err := m.Describe()
	must(t, err)
	b := build(magicChecksum, file{DescriptionName, string(d)}, file{SignatureName, string(w.sign(t, string(d)))}, file{"img", mark})
	at := bytes.Index(b, []byte(mark))
	s := sparse{head: b[:at], zeros: size, tail: b[at+len(mark)+2:]}
	header := bytes.LastIndex(s.head, []byte(magicChecksum))
	copy(s.head[header+6+8*fieldSize:], fmt.Sprintf("%08x", size))
	copy(s.head[header+6+8*fieldCheck:], "00000000")

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	a, err := Open(s, s.size())
	must(t, err)
	description, _, err := a.Description(w.trust, now)
	must(t, err)
	p, err := description.Select(box)
	must(t, err)
	var last int64
	must(t, p.Verify(context.Background(), a, func(done, total int64) {
		if total != size || done <= last {
			t.Fatalf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}))
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 2<<20 {
		t.Errorf("verifying %d MiB allocated %d KiB in all", size>>20, allocated>>10)
	} else {
		t.Logf("verifying %d MiB allocated %d KiB in all", size>>20, allocated>>10)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestVerifyObeysItsContext(t *testing.T) {
	t.Parallel()
	a := open(t, artifact(t, "payload"))
	d, _, err := a.Description(theWorld().trust, now)
	must(t, err)
	p, err := d.Select(box)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Verify(ctx, a, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
