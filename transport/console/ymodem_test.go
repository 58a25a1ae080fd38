package console

import (
	"bytes"
	"io"
	"math"
	"os"
	"testing"
)

// block is a block of YMODEM.
func block(number byte, data []byte, size int, pad byte) []byte {
	full := append(bytes.Clone(data), bytes.Repeat([]byte{pad}, size-len(data))...)
	mark := byte(ymSOH)
	if size == 1024 {
		mark = ymSTX
	}
	crc := crc16(full)
	return append(append([]byte{mark, number, ^number}, full...), byte(crc>>8), byte(crc))
}

// stream is a whole transmission, by a sender that does not listen.
func stream(header string, data []byte) []byte {
	all := block(0, []byte(header), 128, 0)
	number := byte(1)
	for ; len(data) > 0; number++ {
		size := 1024
		if len(data) <= 128 {
			size = 128
		}
		n := min(len(data), size)
		all = append(all, block(number, data[:n], size, 0x1a)...)
		data = data[n:]
	}
	all = append(all, ymEOT, ymEOT)
	return append(all, block(0, nil, 128, 0)...)
}

// take receives what comes, all at once, then the end of the port.
func take(t testing.TB, sent []byte, max int64) ([]byte, error) {
	t.Helper()
	from := make(chan []byte, 1)
	from <- sent
	close(from)
	y := ymodem{from: from, to: io.Discard}
	inbox := Inbox{Dir: t.TempDir(), MaxBytes: max}
	in, err := y.receive(t.Context(), func(name string, size int64) (*inbound, error) { return inbox.begin(name, "", size) })
	if err != nil {
		return nil, err
	}
	path, err := in.finish()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data, nil
}

func TestYmodem(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("firmware"), 700) // 5 blocks of 1024 and 4 of 128
	whole := stream("fw.swu\x005600 0 0", data)
	damaged := bytes.Clone(whole)
	damaged[500]++
	again := append(whole[:133:133], whole[:133]...) // our first answer was lost
	again = append(again, whole[133:]...)
	skipped := append(whole[:133:133], whole[133+1029:]...)
	for _, c := range []struct {
		name string
		sent []byte
		max  int64
		want []byte // nil: refused
	}{
		{"whole", whole, math.MaxInt64 / 2, data},
		{"size not told", stream("fw.swu", data[:1024]), 1 << 20, data[:1024]},
		{"padding stays without a size", stream("fw.swu", []byte("short")), 1 << 20, append([]byte("short"), bytes.Repeat([]byte{0x1a}, 123)...)},
		{"header twice", again, 1 << 20, data},
		{"block damaged", damaged, 1 << 20, nil},
		{"block missing", skipped, 1 << 20, nil},
		{"too large", whole, 5599, nil},
		{"larger than allowed, size not told", stream("fw.swu", data), 2000, nil},
		{"cut", whole[:3000], 1 << 20, nil},
		{"no file", stream("", nil), 1 << 20, nil},
		{"cancelled", append(whole[:133:133], ymCAN, ymCAN), 1 << 20, nil},
		{"old check sums", []byte{ymSOH, 0, 0xff, 'x'}, 1 << 20, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := take(t, c.sent, c.max)
			if (err == nil) != (c.want != nil) || !bytes.Equal(got, c.want) {
				t.Errorf("%d bytes, %v; want %d bytes", len(got), err, len(c.want))
			}
		})
	}
}

// FuzzYmodem: whatever is sent, the receiver ends, and no more is stored than
// is allowed.
func FuzzYmodem(f *testing.F) {
	f.Add(stream("fw.swu\x0010 0 0", []byte("0123456789")))
	f.Add(stream("fw.swu", bytes.Repeat([]byte{7}, 3000)))
	f.Add([]byte{ymEOT, ymCAN, ymNAK, ymSTX})
	f.Fuzz(func(t *testing.T, sent []byte) {
		if got, err := take(t, sent, 2048); err == nil && len(got) > 2048 {
			t.Errorf("stored %d bytes", len(got))
		}
	})
}
