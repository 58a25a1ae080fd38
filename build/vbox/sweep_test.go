package vbox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
)

const (
	copyBytes  = 0x4000 // of each copy of the environment
	blockBytes = 4096
)

// medium is what of a disk matters to the bootloader: the environment, and in
// how many blocks slot B is not the new system.
type medium struct {
	env   []byte
	slot  []byte
	want  []byte
	wrong int
}

func (m *medium) clone() *medium {
	return &medium{slices.Clone(m.env), slices.Clone(m.slot), m.want, m.wrong}
}

// differs is how many blocks of the slot from one to another are not as wanted.
func (m *medium) differs(from, to int) int {
	n := 0
	for at := from / blockBytes * blockBytes; at < to; at += blockBytes {
		if !bytes.Equal(m.slot[at:at+blockBytes], m.want[at:at+blockBytes]) {
			n++
		}
	}
	return n
}

// apply writes data at an offset of the disk.
func (m *medium) apply(parts map[string]part, at int64, data []byte) {
	if p := parts["env"]; at >= p.offset && at < p.offset+int64(len(m.env)) {
		copy(m.env[at-p.offset:], data)
	}
	if p := parts["slotB"]; at >= p.offset && at < p.offset+p.size {
		from := int(at - p.offset)
		to := from + len(data)
		m.wrong -= m.differs(from, to)
		copy(m.slot[from:], data)
		m.wrong += m.differs(from, to)
	}
}

// starts is the slot that the boot script would start, by the variables of the
// newest good copy; "" when there is none.
func (m *medium) starts() string {
	var good [][]byte
	for _, c := range [][]byte{m.env[:copyBytes], m.env[copyBytes : 2*copyBytes]} {
		if binary.LittleEndian.Uint32(c) == crc32.ChecksumIEEE(c[5:]) {
			good = append(good, c)
		}
	}
	if len(good) == 0 {
		return ""
	}
	newest := good[0]
	if len(good) == 2 && int8(good[1][4]-good[0][4]) > 0 {
		newest = good[1]
	}
	_, rest, _ := bytes.Cut(append([]byte{0}, newest[5:]...), []byte("\x00slot="))
	return string(rest[:1])
}

// sweep looks at the disk after every write of the log: with all that was
// written, with all that was not flushed lost, with the newest write to the
// environment alone kept of that, and with each such write torn at each sector. A
// bootloader must find a good environment at any instant, and slot B in it only
// when B is the whole new system. It returns where that is not so.
func sweep(r *rig, log *writeLog, base string) (states int, bad []string) {
	r.t.Helper()
	disk, err := os.Open(base)
	r.must(err)
	defer disk.Close()
	in, err := os.Open(log.file)
	r.must(err)
	defer in.Close()
	now := &medium{env: make([]byte, 2*copyBytes), slot: make([]byte, r.disk["slotB"].size)}
	now.want, err = os.ReadFile(r.image("2"))
	r.must(err)
	_, err = disk.ReadAt(now.env, r.disk["env"].offset)
	r.must(err)
	now.wrong = now.differs(0, len(now.slot))
	safe := now.clone()

	check := func(m *medium, n int, how loss) {
		states++
		switch slot := m.starts(); {
		case slot != "A" && slot != "B":
			bad = append(bad, fmt.Sprintf("after write %d, %s: no good environment (%q)", n, how, slot))
		case slot == "B" && m.wrong > 0:
			bad = append(bad, fmt.Sprintf("after write %d, %s: slot B is chosen, and %d blocks of it are wrong", n, how, m.wrong))
		}
	}
	var pending []int
	for n, w := range log.writes {
		if w.within(r.disk["slotA"]) {
			bad = append(bad, fmt.Sprintf("write %d is to the running slot", n))
		}
		if w.flush() {
			for _, i := range pending {
				safe.write(r, in, log, i, log.writes[i].size)
			}
			pending = nil
		}
		if w.within(r.disk["env"]) {
			for size := int64(sector); size < w.size; size += sector {
				cut := now.withEnvironment()
				cut.write(r, in, log, n, size)
				check(cut, n, torn)
			}
			alone := safe.withEnvironment()
			alone.write(r, in, log, n, w.size)
			check(alone, n, newest)
		}
		now.write(r, in, log, n, w.size)
		if w.flags&flagFUA != 0 {
			safe.write(r, in, log, n, w.size)
		} else {
			pending = append(pending, n)
		}
		check(now, n, kept)
		check(safe, n, lost)
	}
	if now.starts() != "B" {
		bad = append(bad, "the log does not end with the new system")
	}
	return states, bad
}

// withEnvironment is the medium with an environment of its own to change.
func (m *medium) withEnvironment() *medium {
	return &medium{slices.Clone(m.env), m.slot, m.want, m.wrong}
}

// write applies the beginning of a write of the log.
func (m *medium) write(r *rig, in io.ReaderAt, log *writeLog, n int, size int64) {
	w := log.writes[n]
	data, err := io.ReadAll(log.content(in, w, size))
	r.must(err)
	m.apply(r.disk, w.at, data)
}

// forgetful is the log of an agent that arms the slot without having flushed
// it: no flush between the first write to the slot and the environment's next.
func forgetful(r *rig, log *writeLog) *writeLog {
	mutant := &writeLog{file: log.file}
	writing := false
	for _, w := range log.writes {
		writing = (writing || w.within(r.disk["slotB"])) && !w.within(r.disk["env"])
		if writing && w.flush() {
			if w.size == 0 {
				continue
			}
			w.flags &^= flagFlush
		}
		mutant.writes = append(mutant.writes, w)
	}
	return mutant
}
