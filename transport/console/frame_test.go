package console

import (
	"bytes"
	"testing"
)

// sift feeds a line to a sieve and returns its frames and its other bytes.
func sift(line []byte) (frames []frame, text []byte, torn int) {
	var s sieve
	for _, b := range line {
		got := s.feed(b)
		text = append(text, got.text...)
		if got.frame != nil {
			frames = append(frames, *got.frame)
		}
		if got.torn {
			torn++
		}
	}
	return frames, text, torn
}

func TestSieve(t *testing.T) {
	t.Parallel()
	good := string(frame{kind: 'Q', id: "a-1", total: 2, payload: []byte("{}")}.append(nil))
	if good != "|:Q a-1 0 2 2 {}|;61eda9fe\r\n" {
		t.Errorf("a frame is %q", good)
	}
	bare := good[:len(good)-2]
	for _, c := range []struct {
		name, line   string
		frames, torn int
		text         string
	}{
		{"one", good, 1, 0, "\r\n"},
		{"two on a line", bare + bare, 2, 0, ""},
		{"after a message", "[ 1.0] usb" + good, 1, 0, "[ 1.0] usb\r\n"},
		{"before a message", bare + "[ 1.0] usb\n", 1, 0, "[ 1.0] usb\n"},
		{"torn by a message", good[:8] + "[ 1.0] usb\n" + good[8:], 0, 1, good[8:]},
		{"begun twice", good[:8] + good, 1, 1, "\r\n"},
		{"wrong sum", bare[:len(bare)-1] + "0\r\n", 0, 1, "\r\n"},
		{"upper-case sum", "|:Q a-1 0 2 2 {}|;61EDA9FE\r\n", 0, 1, "\r\n"},
		{"sum cut", bare[:len(bare)-1] + "\r\n", 0, 1, "\n"},
		{"wrong byte", "|:Q a-1 0 2 2 {]|;61eda9fe\r\n", 0, 1, "\r\n"},
		{"a person's bars", "a|b||c", 0, 0, "a|b||c"},
		{"endless", "|:" + string(bytes.Repeat([]byte{'x'}, 3*maxFrame)), 0, 1, string(bytes.Repeat([]byte{'x'}, 2*maxFrame-1))},
	} {
		t.Run(c.name, func(t *testing.T) {
			frames, text, torn := sift([]byte(c.line))
			if len(frames) != c.frames || torn != c.torn || string(text) != c.text {
				t.Errorf("%d frames, %d torn, text %q; want %d, %d, %q", len(frames), torn, text, c.frames, c.torn, c.text)
			}
		})
	}
}

// What is sent comes out, between whatever.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("noise|"), "a-1", int64(0), int64(2), []byte("{}"))
	f.Add([]byte("|:Q a"), "z", int64(7), int64(9), []byte("|\x00\x7f\xff\r\n|:|;"))
	f.Fuzz(func(t *testing.T, before []byte, id string, offset, total int64, payload []byte) {
		sent := frame{kind: kindData, id: id, offset: offset, total: total, payload: payload}
		if !validID([]byte(id)) || offset < 0 || total < offset || total >= 1<<62 || len(payload) > maxPayload {
			return
		}
		line := append(append(bytes.Clone(before), '\n'), sent.append(nil)...)
		frames, _, _ := sift(line)
		if len(frames) == 0 {
			t.Fatalf("lost: %q", line)
		}
		got := frames[len(frames)-1]
		if got.kind != sent.kind || got.id != id || got.offset != offset || got.total != total || !bytes.Equal(got.payload, payload) {
			t.Errorf("sent %+v, got %+v", sent, got)
		}
	})
}

// FuzzHeader: any block 0 is read without harm, and its name stays in the inbox.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("fw.swu\x001234 14567 100644\x00"))
	f.Add([]byte("../../etc/passwd\x00\x00"))
	f.Fuzz(func(t *testing.T, block []byte) {
		name, size := parseHeader(block)
		if safe := safeName(name); size < -1 || safe != safeName(safe) || safe[0] == '.' && safe != ".swu" || bytes.ContainsAny([]byte(safe), "/\x00") {
			t.Errorf("name %q becomes %q, size %d", name, safe, size)
		}
	})
}
