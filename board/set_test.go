package board

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otad/ota/durable"
)

func TestSetsCheck(t *testing.T) {
	t.Parallel()
	a := Set{Name: "a", Device: "/dev/a", Parts: []Part{{"kernel", "/dev/ka"}, {"dtb", "/dev/da"}}}
	b := Set{Name: "b", Device: "/dev/b", Parts: []Part{{"kernel", "/dev/kb"}, {"dtb", "/dev/db"}}}
	for _, tt := range []struct {
		name  string
		sets  []Set
		words string // "" for none
	}{
		{"two sets", []Set{a, b}, ""},
		{"one slot", []Set{a}, "two needed"},
		{"a slot twice", []Set{a, a}, "twice"},
		{"a part is missing", []Set{a, {Name: "b", Device: "/dev/b", Parts: b.Parts[:1]}}, "same names"},
		{"parts in another order", []Set{a, {Name: "b", Device: "/dev/b", Parts: []Part{b.Parts[1], b.Parts[0]}}}, "same order"},
		{"a part of the other slot", []Set{a, {Name: "b", Device: "/dev/b", Parts: []Part{{"kernel", "/dev/ka"}, {"dtb", "/dev/db"}}}}, `is that of part "kernel" of slot "a"`},
		{"a part on the other slot", []Set{a, {Name: "b", Device: "/dev/b", Parts: []Part{{"kernel", "/dev/a"}, {"dtb", "/dev/db"}}}}, `is that of slot "a"`},
		{"a part called like a slot", []Set{
			{Name: "a", Device: "/dev/a", Parts: []Part{{"b", "/dev/ka"}}}, {Name: "b", Device: "/dev/b", Parts: []Part{{"b", "/dev/kb"}}},
		}, "the name is taken"},
		{"a part twice", []Set{
			{Name: "a", Device: "/dev/a", Parts: []Part{{"k", "/dev/1"}, {"k", "/dev/2"}}}, {Name: "b", Device: "/dev/b", Parts: []Part{{"k", "/dev/3"}, {"k", "/dev/4"}}},
		}, "the name is taken"},
		{"a relative device", []Set{a, {Name: "b", Device: "sdb", Parts: b.Parts}}, "absolute"},
	} {
		s := Sets{FS: durable.OS, Sets: tt.sets}
		err := s.Check()
		if tt.words == "" && err != nil || tt.words != "" && (err == nil || !strings.Contains(err.Error(), tt.words)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.words)
		}
	}
}

// A link to a medium of the active set is that medium.
func TestNoLinkOpensTheActiveSet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a", "b", "ka"} {
		if err := os.WriteFile(in(name), make([]byte, 512), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := Sets{FS: durable.OS, Active: func(context.Context) (string, error) { return "a", nil }, Sets: []Set{
		{Name: "a", Device: in("a"), Parts: []Part{{"kernel", in("ka")}}}, {Name: "b", Device: in("b"), Parts: []Part{{"kernel", in("kb")}}},
	}}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	// The link appears after the check, as udev makes and changes them.
	for _, to := range []string{"ka", "a"} {
		os.Remove(in("kb"))
		if err := os.Symlink(in(to), in("kb")); err != nil {
			t.Fatal(err)
		}
		m, err := s.OpenPart(t.Context(), "b", "kernel")
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if _, err := m.WriteAt([]byte("x"), 0); !errors.Is(err, ErrActiveSlot) {
			t.Errorf("a link to %q: got %v, want ErrActiveSlot", to, err)
		}
		if err := s.Check(); err == nil {
			t.Errorf("a link to %q passes the check", to)
		}
	}
}

func TestStagedRotted(t *testing.T) {
	t.Parallel()
	s := Staged{FS: durable.OS, Path: filepath.Join(t.TempDir(), "state", "bootenv")}
	if err := s.Keep("b", []Variable{{"splash", "new"}}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bad := append([]byte{}, whole...)
		bad[i] ^= 4
		if err := os.WriteFile(s.Path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := s.For("b"); err == nil {
			t.Fatalf("byte %d is wrong: got %v and no error", i, got)
		}
	}
	if err := s.Drop(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.For("b"); err != nil || len(got) > 0 {
		t.Errorf("dropped: got %v, %v", got, err)
	}
}
