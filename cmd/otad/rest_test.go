package main

import (
	"os"
	"strings"
	"testing"
)

func TestParseMapping(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, line   string
		ok, constant bool
	}{
		{"program", "00010000-0054f000 r-xp 00000000 b3:02 1234       /usr/sbin/otad", true, true},
		{"its constants", "7f00a1000000-7f00a2000000 r--p 004d0000 b3:02 1234 /usr/sbin/otad", true, true},
		{"path with spaces", "00010000-0054f000 r-xp 00000000 b3:02 1234 /usr/my programs/otad (deleted)", true, true},
		{"its variables", "00a00000-00a10000 rw-p 00990000 b3:02 1234 /usr/sbin/otad", true, false},
		{"shared, as a journal", "00a00000-00a10000 r--s 00000000 b3:03 77 /var/lib/otad/journal.db", true, false},
		{"heap", "4000000-8000000 rw-p 00000000 00:00 0", true, false},
		{"vdso", "7ffd1000-7ffd3000 r-xp 00000000 00:00 0 [vdso]", true, false},
		{"size", "Size:               1344 kB", false, false},
		{"anonymous", "Anonymous:             0 kB", false, false},
		{"flags", "VmFlags: rd ex mr mw me sd", false, false},
		{"empty", "", false, false},
	} {
		m, ok := parseMapping(row.line)
		if ok != row.ok || ok && m.constant != row.constant {
			t.Errorf("%s: got %+v, %v", row.name, m, ok)
		}
	}
	if m, _ := parseMapping("00010000-0054f000 r-xp 00000000 b3:02 1234 /usr/sbin/otad"); m.begin != 0x10000 || m.end != 0x54f000 {
		t.Errorf("got %x-%x", m.begin, m.end)
	}
}

// TestLetGo goes on after its own pages were taken out: all of the program is
// there as before.
func TestLetGo(t *testing.T) {
	constants := 0
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if m, ok := parseMapping(strings.TrimSuffix(line, "\n")); ok && m.constant {
			constants++
		}
	}
	if constants < 2 {
		t.Errorf("a program has code and constants; found %d such mappings", constants)
	}
	letGo()
	letGo()
	if !strings.Contains(string(text), "r-xp") || buildVersion() == "" {
		t.Error("the program is not what it was")
	}
}
