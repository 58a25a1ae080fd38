package console

import (
	"os"
	"strings"
	"testing"
)

// The frame on the page is one, and it is what the program makes.
func TestPageExample(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/console.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "|:Q") {
			continue
		}
		found++
		frames, _, torn := sift([]byte(line))
		if len(frames) != 1 || torn != 0 {
			t.Fatalf("%q is no frame", line)
		}
		if made := string(frames[0].append(nil)); made != strings.TrimSpace(line)+"\r\n" {
			t.Errorf("the page has %q, the program makes %q", line, made)
		}
		if _, err := readRequest(frames[0].payload); err != nil {
			t.Error(err)
		}
	}
	if found == 0 {
		t.Error("the page has no example")
	}
}
