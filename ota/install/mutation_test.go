package install

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"otad/ota"
	"otad/ota/swu"
)

const (
	// mutations is how many damaged artifacts there are at least.
	mutations = 200
	// mutationPeakKiB bounds what the process that reads them all takes.
	mutationPeakKiB = 40 << 10
	// childVariable asks the test binary to be that process.
	childVariable = "OTAD_TEST_MUTATIONS"
)

// Every damaged artifact is refused before a byte of the slot changes, all of
// them in one process whose memory stays small.
func TestMutationsAreRefused(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		refuseMutations(t)
		return
	}
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, "-test.run=^TestMutationsAreRefused$", "-test.v")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	peak, n := reported(out, "peak KiB"), reported(out, "mutations")
	t.Logf("%d mutations refused within %.1f MiB", n, float64(peak)/1024)
	if n < mutations {
		t.Errorf("only %d mutations", n)
	}
	if peak > mutationPeakKiB && !underRace { // the race detector's own is more
		t.Errorf("the process took %d KiB, more than %d", peak, mutationPeakKiB)
	}
}

// reported finds a number that the child logged.
func reported(out []byte, what string) int {
	for line := range strings.Lines(string(out)) {
		if _, number, ok := strings.Cut(strings.TrimSpace(line), what+": "); ok {
			n, err := strconv.Atoi(number)
			if err == nil {
				return n
			}
		}
	}
	return -1
}

// refuseMutations is the child.
func refuseMutations(t *testing.T) {
	image := pattern(100_000, 1)
	n := 0
	for _, kind := range []string{swu.KindNone, swu.KindZstd} {
		good := pack(t, kind, image)
		idle := newSlot(make([]byte, 2*len(image)))
		mutate(good, func(m mutation) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err := run(ctx, m.artifact, rulesFor(t, idle.Size()), idle, false)
			cancel()
			var f *ota.Fault
			if !errors.As(err, &f) || f.Class != ota.Permanent {
				t.Errorf("%s, %s: %v", kind, m.name, err)
			}
			if len(idle.writes) != 0 {
				t.Errorf("%s, %s: the slot was written", kind, m.name)
			}
			n++
		})
		if _, err := run(t.Context(), good, rulesFor(t, mib), newSlot(make([]byte, mib)), false); err != nil {
			t.Errorf("%s: the good one is refused: %v", kind, err)
		}
	}
	t.Logf("mutations: %d", n)
	t.Logf("peak KiB: %d", peakKiB(t))
}

// peakKiB is the largest resident set that the process had.
func peakKiB(t *testing.T) int {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Logf("no peak: %v", err)
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "VmHWM:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

type mutation struct {
	name     string
	artifact []byte
}

// member is one entry of a cpio archive, with where its parts begin.
type member struct {
	name                    string
	header, data, end, next int
}

// members reads the structure of a good archive.
func members(b []byte) []member {
	number := func(at int) int {
		n, err := strconv.ParseUint(string(b[at:at+8]), 16, 32)
		if err != nil {
			panic(err)
		}
		return int(n)
	}
	align := func(n int) int { return (n + 3) &^ 3 }
	var found []member
	for at := 0; ; {
		size, nameBytes := number(at+6+6*8), number(at+6+11*8)
		m := member{name: string(b[at+110 : at+110+nameBytes-1]), header: at, data: align(at + 110 + nameBytes)}
		m.end = m.data + size
		m.next = align(m.end)
		found = append(found, m)
		if m.name == "TRAILER!!!" {
			return found
		}
		at = m.next
	}
}

// mutate damages an artifact in every way that an accident or an attacker
// would begin with.
func mutate(good []byte, visit func(mutation)) {
	add := func(name string, b []byte) { visit(mutation{name, b}) }
	change := func(name string, at int, with string) {
		b := bytes.Clone(good)
		copy(b[at:], with)
		add(name, b)
	}
	list := members(good)
	random := rand.New(rand.NewPCG(1, uint64(len(good))))
	for _, m := range list {
		if m.name == "TRAILER!!!" {
			continue
		}
		// Bits that mean something: magic, size, name length, check sum, name, data.
		for _, at := range []int{0, 5, 6 + 6*8, 6 + 6*8 + 7, 6 + 11*8 + 7, 6 + 12*8, 6 + 12*8 + 7, 110} {
			b := bytes.Clone(good)
			b[m.header+at] ^= 1 << random.IntN(3)
			add(fmt.Sprintf("bit in the header of %s at %d", m.name, at), b)
		}
		for range 8 {
			b, at := bytes.Clone(good), m.data+random.IntN(m.end-m.data)
			b[at] ^= 1 << random.IntN(8)
			add(fmt.Sprintf("bit in %s at %d", m.name, at-m.data), b)
		}
		for _, size := range []string{"ffffffff", "80000000", "7fffffff", "00000000", "00040001", "-0000001"} {
			change("size of "+m.name+" is "+size, m.header+6+6*8, size)
		}
		for _, n := range []string{"ffffffff", "00000000", "00000001", "00000100"} {
			change("name length of "+m.name+" is "+n, m.header+6+11*8, n)
		}
		for _, name := range []string{"../" + m.name[3:], "/" + m.name[1:], m.name[:3] + "\x00" + m.name[4:], "a/../.." + m.name[7:]} {
			change(fmt.Sprintf("%s is called %q", m.name, name), m.header+110, name)
		}
		entry := good[m.header:m.next]
		add(m.name+" twice", append(append(bytes.Clone(good[:m.next]), entry...), good[m.next:]...))
		add(m.name+" missing", append(bytes.Clone(good[:m.header]), good[m.next:]...))
		last := list[len(list)-1].header
		if m.next != last {
			b := append(bytes.Clone(good[:m.header]), good[m.next:last]...)
			add(m.name+" last", append(append(b, entry...), good[last:]...))
		}
		for _, at := range []int{m.header, m.header + 1, m.header + 109, m.header + 111, m.data, m.data + 1, m.end - 1, m.end, m.next - 1} {
			add(fmt.Sprintf("cut at byte %d of %s", at-m.header, m.name), good[:at])
		}
	}
	add("cut before the trailer", good[:list[len(list)-1].header])
	add("cut in the trailer", good[:list[len(list)-1].header+100])
	add("something behind", append(bytes.Clone(good), 1))
	add("a mebibyte of padding", append(bytes.Clone(good), make([]byte, mib)...))
	add("another artifact behind", append(bytes.Clone(good), good...))
}
