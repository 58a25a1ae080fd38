package vbox

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// The log of QEMU's blklogwrites driver, in the format of Linux's dm-log-writes:
// a sector with the magic, then for each write a sector that says where and how
// long, and its data. A log that ends in the middle is whole up to there.
// Source: Linux, Documentation/admin-guide/device-mapper/log-writes.rst.
const (
	logMagic  = 0x6a736677736872
	sector    = 512
	flagFlush = 1 // the drive's cache was empty before this
	flagFUA   = 2 // this write went past the cache
	flagClear = 4 // discarded: reads as zeros, and there is no data
)

// write is one entry of a log.
type write struct {
	at, size int64 // on the disk, in bytes; size 0 for a flush alone
	flags    uint64
	data     int64 // where in the log
}

func (w write) flush() bool { return w.flags&flagFlush != 0 }

// within tells whether the write is to the partition.
func (w write) within(p part) bool {
	return w.size > 0 && w.at < p.offset+p.size && w.at+w.size > p.offset
}

// writeLog is everything that was written to a disk, in order.
type writeLog struct {
	file   string
	writes []write
}

// withLog are the options for a disk whose writes go to the log file, too.
func withLog(disk, file string) []string {
	return []string{
		"driver=file,node-name=raw0,cache.no-flush=on,filename=" + disk,
		"driver=file,node-name=log0,cache.no-flush=on,filename=" + file,
		"driver=blklogwrites,node-name=d0,file=raw0,log=log0,log-sector-size=512",
	}
}

// readLog reads where everything is.
func readLog(file string) (*writeLog, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 32)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, err
	}
	number := func(i int) uint64 { return binary.LittleEndian.Uint64(head[8*i:]) }
	if number(0) != logMagic || number(1) != 1 {
		return nil, fmt.Errorf("%q is no log of writes", file)
	}
	l := &writeLog{file: file}
	for at := int64(sector); ; {
		if _, err := f.ReadAt(head, at); err != nil {
			return l, nil
		}
		w := write{at: int64(number(0)) * sector, size: int64(number(1)) * sector, flags: number(2), data: at + sector}
		if w.size == 0 && w.flags == 0 {
			return l, nil
		}
		if at += sector; w.flags&flagClear == 0 {
			at += w.size
		}
		l.writes = append(l.writes, w)
	}
}

// A loss says what became of what the drive had not been told to flush.
type loss string

const (
	kept   loss = "nothing lost"
	lost   loss = "all unflushed lost"
	halved loss = "half of unflushed lost"
	torn   loss = "last write torn"
	newest loss = "all unflushed lost but the newest"
)

// losses are those that are booted.
var losses = []loss{kept, lost, halved, torn}

// flushed is up to which write all are on the medium after the first n.
func (l *writeLog) flushed(n int) int {
	for i := n - 1; i >= 0; i-- {
		if l.writes[i].flush() {
			return i
		}
	}
	return 0
}

// replay makes disk, which is as it was in the beginning, what it was when the
// power went after n writes.
func (l *writeLog) replay(disk string, n int, how loss) error {
	in, err := os.Open(l.file)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	safe := l.flushed(n)
	chance := rand.New(rand.NewPCG(uint64(n), 0))
	for i, w := range l.writes[:n] {
		if i >= safe && w.flags&flagFUA == 0 && (how == lost || how == halved && chance.IntN(2) == 0) {
			continue
		}
		size := w.size
		if how == torn && i == n-1 {
			size = chance.Int64N(w.size/sector+1) * sector
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, w.at), l.content(in, w, size)); err != nil {
			return err
		}
	}
	return out.Close()
}

// content is the beginning of what was written.
func (l *writeLog) content(in io.ReaderAt, w write, size int64) io.Reader {
	if w.flags&flagClear != 0 {
		return io.LimitReader(zero{}, size)
	}
	return io.NewSectionReader(in, w.data, size)
}
