package crashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"otad/ota/durable"
)

// write makes the calls of a careless program: names and bytes, no sync.
func write(t *testing.T, d *Disk, name, text string) {
	t.Helper()
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

func syncFile(t *testing.T, d *Disk, name string) error {
	t.Helper()
	f, err := d.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f.Sync()
}

// listing is all files of the root with their content, long ones by their length.
func listing(t *testing.T, d *Disk) string {
	t.Helper()
	names, err := d.ReadDir("/")
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, name := range names {
		data, err := durable.ReadFile(d, "/"+name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), "\x00", "0")
		if len(text) > 10 {
			text = fmt.Sprint(len(bytes.TrimRight(data, "\x00")), "/", len(data))
		}
		parts = append(parts, name+"="+text)
	}
	return strings.Join(parts, " ")
}

func TestSurvive(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		how  How
		want string
	}{
		{Lost, "old=12345"},
		{Kept, "new=abc old=ABC45"},
		{Names, "new= old=12345"},
		{Content, "old=ABC45"},
		{Zeros, "new=000 old=12345"},
		{Torn512, "new=abc old=A2345"},
		{Reordered, "new= old=ABC45"},
	} {
		t.Run(string(tt.how), func(t *testing.T) {
			t.Parallel()
			power := NewPower(0)
			d := New(power)
			d.Put("/old", []byte("12345"))
			write(t, d, "/new", "abc")
			write(t, d, "/old", "ABC")
			if got := listing(t, d); got != "new=abc old=ABC45" {
				t.Errorf("before the power goes: %s", got)
			}
			if got := listing(t, d.Survive(tt.how, 1, power)); got != tt.want {
				t.Errorf("survives %q, want %q", got, tt.want)
			}
			if got := listing(t, d); got != "new=abc old=ABC45" {
				t.Errorf("the disk itself changed: %s", got)
			}
		})
	}
}

func TestSyncedSurvives(t *testing.T) {
	t.Parallel()
	power := NewPower(0)
	d := New(power)
	write(t, d, "/a", "1")
	write(t, d, "/b", "2")
	steps := []struct {
		do   func() error
		want string
	}{
		{func() error { return nil }, ""},
		{func() error { return syncFile(t, d, "/a") }, ""}, // the name is not
		{func() error { return d.SyncDir("/") }, "a=1 b="},
		{func() error { return syncFile(t, d, "/b") }, "a=1 b=2"},
		{func() error { return d.Rename("/a", "/b") }, "a=1 b=2"},
		{func() error { return d.SyncDir("/") }, "b=1"},
		{func() error { return d.Remove("/b") }, "b=1"},
		{func() error { return d.SyncDir("/") }, ""},
		{func() error { return durable.WriteFile(d, "/c", []byte("3"), 0o600) }, "c=3"},
		{func() error { return durable.MkdirAll(d, "/x/y", 0o700) }, "c=3 x="},
	}
	for i, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if i == len(steps)-1 {
			if _, err := d.Survive(Lost, 0, power).ReadDir("/x/y"); err != nil {
				t.Error(err)
			}
			break
		}
		if got := listing(t, d.Survive(Lost, 0, power)); got != step.want {
			t.Errorf("step %d: survives %q, want %q", i, got, step.want)
		}
	}
}

func TestTornAtPages(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3*pageBytes+5)
	lengths := map[string]bool{}
	for seed := range uint64(40) {
		power := NewPower(0)
		d := New(power)
		d.Put("/f", nil)
		write(t, d, "/f", long)
		lengths[listing(t, d.Survive(Torn4096, seed, power))] = true
		if got := listing(t, d.Survive(Torn512, seed, power)); got != "f=512/512" {
			t.Errorf("torn at 512 leaves %s", got)
		}
	}
	for _, want := range []string{"f=4096/4096", "f=8192/8192", "f=12288/12288"} {
		if !lengths[want] || len(lengths) != 3 {
			t.Errorf("torn at pages leaves %v, want %s among three", lengths, want)
		}
	}
}

// Every durable call has its number and name, and a cut takes just that one.
func TestCuts(t *testing.T) {
	t.Parallel()
	story := func(d *Disk) error {
		return errors.Join(durable.WriteFile(d, "/f", []byte("text"), 0o600), durable.Remove(d, "/f"))
	}
	power := NewPower(10)
	if err := story(New(power)); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range power.Calls() {
		names = append(names, c.Name)
	}
	want := []string{"create f.new", "write f.new 0+4", "sync f.new", "rename f.new to f", "syncdir /", "remove f", "syncdir /"}
	if !slices.Equal(names, want) || power.Made() != 17 {
		t.Fatalf("calls %q, %d made; want %q", names, power.Made(), want)
	}
	for i := range names {
		for _, how := range []How{Before, Lost, EIO, EIOKept, ENOSPC, EROFS} {
			power := NewPower(10, Cut{Call: 11 + i, How: how})
			lost := false
			power.WhenLost(func() { lost = true })
			d := New(power)
			err := story(d)
			cause := faults[how]
			if cause == nil {
				cause = ErrPowerLost
			}
			if !errors.Is(err, cause) || lost != (cause == ErrPowerLost) {
				t.Errorf("%s, %s: got %v, power lost %v", names[i], how, err, lost)
			}
			if _, err := d.ReadDir("/"); lost != errors.Is(err, ErrPowerLost) {
				t.Errorf("%s, %s: afterwards %v", names[i], how, err)
			}
			power.On()
			if err := story(d.Survive(how, 0, power)); err != nil {
				t.Errorf("%s, %s: with power again: %v", names[i], how, err)
			}
		}
	}
}

// A sync that failed is not made good by the next one, and the cache hides it.
func TestFailedSyncDropsWhatWasPending(t *testing.T) {
	t.Parallel()
	power := NewPower(0, Cut{Call: 2, How: EIO})
	d := New(power)
	d.Put("/f", []byte("old"))
	write(t, d, "/f", "new")
	if err := syncFile(t, d, "/f"); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := syncFile(t, d, "/f"); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, d); got != "f=new" {
		t.Errorf("the cache shows %s", got)
	}
	f, err := d.OpenFile("/f", os.O_RDONLY, 0)
	if err == nil {
		err = f.DropCache()
	}
	if got := listing(t, d); err != nil || got != "f=old" {
		t.Errorf("the medium shows %s, %v", got, err)
	}
}

// A bit that does not stick shows when the cache is dropped.
func TestRot(t *testing.T) {
	t.Parallel()
	power := NewPower(0, Cut{Call: 1, How: Rot, Seed: 4})
	d := New(power)
	d.Put("/f", make([]byte, 8))
	write(t, d, "/f", "12345678")
	if err := syncFile(t, d, "/f"); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, d); got != "f=12345678" {
		t.Errorf("the cache shows %s", got)
	}
	if got := listing(t, d.Survive(Lost, 0, power)); got == "f=12345678" {
		t.Error("the medium kept every bit")
	}
}

func TestNoSpaceCutsTheWriteShort(t *testing.T) {
	t.Parallel()
	power := NewPower(0, Cut{Call: 2, How: ENOSPC})
	d := New(power)
	f, err := d.OpenFile("/f", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.Write([]byte("123456"))
	if n != 3 || !errors.Is(err, syscall.ENOSPC) || listing(t, d) != "f=123" {
		t.Errorf("wrote %d, %v: %s", n, err, listing(t, d))
	}
}

func TestAsAFileSystem(t *testing.T) {
	t.Parallel()
	d := New(NewPower(0))
	for _, tt := range []struct {
		name string
		do   func() error
		want error
	}{
		{"open what is not there", func() error { _, err := d.OpenFile("/no", os.O_RDONLY, 0); return err }, fs.ErrNotExist},
		{"rename what is not there", func() error { return d.Rename("/no", "/f") }, fs.ErrNotExist},
		{"remove what is not there", func() error { return d.Remove("/no") }, fs.ErrNotExist},
		{"make a directory", func() error { return d.Mkdir("/dir", 0o755) }, nil},
		{"make it again", func() error { return d.Mkdir("/dir", 0o755) }, fs.ErrExist},
		{"make one in no directory", func() error { return d.Mkdir("/no/dir", 0o755) }, fs.ErrNotExist},
		{"make a file", func() error { _, err := d.OpenFile("/f", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); return err }, nil},
		{"make it again", func() error { _, err := d.OpenFile("/f", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); return err }, fs.ErrExist},
		{"use a file as a directory", func() error { _, err := d.OpenFile("/f/x", os.O_RDONLY, 0); return err }, syscall.ENOTDIR},
		{"write without leave", func() error {
			f, err := d.OpenFile("/f", os.O_RDONLY, 0)
			if err == nil {
				_, err = f.Write([]byte("x"))
			}
			return err
		}, syscall.EBADF},
	} {
		if err := tt.do(); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}
