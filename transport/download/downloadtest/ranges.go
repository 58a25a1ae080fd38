package downloadtest

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Vice is how requests of several ranges are answered.
type Vice string

// The zero value is a server in good order.
const (
	FirstOnly   Vice = "first only"   // a 206 of the first range alone
	FirstHalf   Vice = "first half"   // the first half of them
	Joined      Vice = "joined"       // a 206 from the first byte to the last
	Backwards   Vice = "backwards"    // the parts from the last to the first
	Twice       Vice = "twice"        // each part is sent twice
	Wider       Vice = "wider"        // each part begins and ends a little outside of what was asked for
	WholeOfMany Vice = "whole"        // a 200; single ranges are known
	Refused     Vice = "refused"      // a 416; single ranges are known
	Elsewhere   Vice = "elsewhere"    // a part that was not asked for comes first
	NoHeaders   Vice = "no headers"   // parts without Content-Range
	LongLine    Vice = "long line"    // a line without end in the header of a part
	OtherTotal  Vice = "other total"  // the file has another size
	Endlessly   Vice = "endless part" // more bytes than a part has
)

const boundary = "a boundary with spaces, 3d6b6a416f9b5"

// span is a range that was asked for.
type span struct{ first, last int64 }

// severalOf reads a Range of more than one range.
func severalOf(r *http.Request, size int64) (list []span) {
	text, _ := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	for field := range strings.SplitSeq(text, ",") {
		from, to, _ := strings.Cut(strings.TrimSpace(field), "-")
		first, err := strconv.ParseInt(from, 10, 64)
		last, err2 := strconv.ParseInt(to, 10, 64)
		if err != nil || err2 != nil || first > last || first >= size {
			return nil
		}
		list = append(list, span{first, min(last, size-1)})
	}
	if len(list) < 2 {
		return nil
	}
	return list
}

// serveSeveral answers with several ranges, from the goroutine of the handler:
// that of http.ServeContent cannot be dropped half-way.
func (b *flow) serveSeveral(list []span, vice Vice) {
	h, total := b.w.Header(), b.size
	switch vice {
	case Refused:
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", b.size))
		b.w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	case FirstHalf:
		list = list[:(len(list)+1)/2]
	case Backwards:
		slices.Reverse(list)
	case Twice:
		list = slices.Concat(list, list)
		slices.SortStableFunc(list, func(a, b span) int { return int(a.first - b.first) })
	case Wider:
		for i := range list {
			list[i] = span{max(list[i].first-100, 0), min(list[i].last+100, b.size-1)}
		}
	case Elsewhere:
		list = append([]span{{0, 9}}, list...)
	case OtherTotal:
		total++
	case FirstOnly:
		b.serveOne(list[0])
		return
	case Joined:
		b.serveOne(span{list[0].first, list[len(list)-1].last})
		return
	}
	h.Set("Content-Type", `multipart/byteranges; boundary="`+boundary+`"`)
	heads, length := make([]string, len(list)), int64(len(boundary)+8)
	for i, s := range list {
		heads[i] = fmt.Sprintf("\r\n--%s\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes %d-%d/%d\r\n\r\n", boundary, s.first, s.last, total)
		switch vice {
		case NoHeaders:
			heads[i] = "\r\n--" + boundary + "\r\n\r\n"
		case LongLine:
			heads[i] = "\r\n--" + boundary + "\r\nX: " + strings.Repeat("x", 8<<10)
		}
		length += int64(len(heads[i])) + s.last - s.first + 1
	}
	if vice != Endlessly {
		h.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	b.w.WriteHeader(http.StatusPartialContent)
	for i, s := range list {
		if _, err := io.WriteString(b.w, heads[i]); err != nil {
			return
		}
		b.at = s.first
		if _, err := io.CopyN(b.w, b, s.last-s.first+1); err != nil {
			return
		}
		for err := error(nil); vice == Endlessly && err == nil; {
			_, err = io.WriteString(b.w, strings.Repeat("\r\n", 1000))
		}
	}
	fmt.Fprintf(b.w, "\r\n--%s--\r\n", boundary)
}

func (b *flow) serveOne(s span) {
	h := b.w.Header()
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", s.first, s.last, b.size))
	h.Set("Content-Length", strconv.FormatInt(s.last-s.first+1, 10))
	b.w.WriteHeader(http.StatusPartialContent)
	b.at = s.first
	_, _ = io.CopyN(b.w, b, s.last-s.first+1) // the client has gone
}
