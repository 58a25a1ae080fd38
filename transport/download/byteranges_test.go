package download

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// FuzzByteRanges: whatever comes, the reading ends, and no part is outside of
// its file.
func FuzzByteRanges(f *testing.F) {
	f.Add("--b\r\nContent-Range: bytes 0-4/9\r\n\r\n01234\r\n--b\r\nContent-Range: bytes 7-8/9\r\n\r\n78\r\n--b--\r\n")
	f.Add("preamble\n--b\ncontent-range:bytes 0-0/1\n\nx\n--b--")
	f.Add("--b--\r\nepilogue")
	f.Add("--b\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		resp := &http.Response{Header: http.Header{"Content-Type": {"multipart/byteranges; boundary=b"}}, Body: io.NopCloser(strings.NewReader(text))}
		b, several := newByteRanges(resp)
		if !several {
			t.Fatal("it is not seen")
		}
		for range len(text) + 1 {
			first, last, total, err := b.next()
			if err != nil {
				return
			}
			if first < 0 || last < first || last >= total {
				t.Fatalf("a part from %d to %d of %d", first, last, total)
			}
			if _, err := io.CopyN(io.Discard, b.r, last-first+1); err != nil {
				return
			}
		}
		t.Fatal("it does not end")
	})
}
