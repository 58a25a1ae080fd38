package consoletest

import (
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestScreen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"lines", "one\r\ntwo", "one|two|"},
		{"carriage return draws again", "10%\r20%", "20%||"},
		{"backspace", "stat\b \bus", "staus||"},
		{"wraps and scrolls", "0123456789ab\r\nc\r\nd\r\ne", "c|d|e"},
		{"moves and erases", "one\r\ntwo\r\nthree\x1b[2Ax\x1b[K\x1b[3;2Hy\x1b[1J", "||   ee"},
		{"clears below", "one\r\ntwo\x1b[H\x1b[J3", "3||"},
		{"styles are not shown", "\x1b[1;31mred\x1b[0m plain", "red plain||"},
		{"other screen", "old\x1b[?1049h\x1b[?25lnew", "new||"},
		{"cut sequences", "a\x1b", "a||"},
		{"runes", "…·", "…·||"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, at := range []int{0, 1, len(c.text) / 2, len(c.text) - 1} { // wherever the bytes are cut
				s := NewScreen(10, 3)
				_, _ = s.Write([]byte(c.text[:at])) // never fails
				_, _ = s.Write([]byte(c.text[at:]))
				if got := strings.Join(s.Lines(), "|"); got != c.want {
					t.Errorf("cut at %d: %q, want %q", at, got, c.want)
				}
			}
		})
	}
	s := NewScreen(10, 2)
	_, _ = io.WriteString(s, "a\nb\r\nc\x1b[36m<d>&")
	if got := s.Past(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("past %q", got)
	}
	picture := s.SVG("a & b")
	if err := xml.Unmarshal([]byte(picture), new(struct{})); err != nil {
		t.Errorf("the picture is no XML: %v\n%s", err, picture)
	}
	for _, want := range []string{"a &amp; b", `fill="#76e3ea">&lt;d&gt;&amp;<`} {
		if !strings.Contains(picture, want) {
			t.Errorf("the picture lacks %q:\n%s", want, picture)
		}
	}
}
