package crashfs

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"syscall"
)

// file is an open file of a Disk.
type file struct {
	disk   *Disk
	node   *node
	name   string
	flag   int
	at     int64
	closed bool
}

// begin locks the disk and refuses what cannot be done.
func (f *file) begin(op string, writes bool) (done func(), err error) {
	f.disk.mu.Lock()
	done = f.disk.mu.Unlock
	switch {
	case f.closed:
		err = fs.ErrClosed
	case writes && f.flag&(os.O_WRONLY|os.O_RDWR) == 0:
		err = syscall.EBADF
	default:
		if err := f.disk.alive(); err != nil {
			return done, err
		}
		return done, nil
	}
	return done, &fs.PathError{Op: op, Path: f.name, Err: err}
}

// change makes a pending change; a fault may leave a part of it.
func (f *file) change(c change) {
	f.disk.seq++
	c.seq = f.disk.seq
	f.node.cache.bytes = c.seen(f.node.cache.bytes)
	f.node.changes = append(f.node.changes, c)
	f.node.differs = f.node.differs || c.flip >= 0
}

func (f *file) truncate(size int64) error {
	return f.disk.do(Op{Name: fmt.Sprintf("truncate %s to %d", path.Base(f.name), size), Apply: func() error {
		f.change(change{truncate: true, offset: size, flip: -1})
		return nil
	}})
}

// writeAt writes p, or the part of it that a fault lets through.
func (f *file) writeAt(p []byte, offset int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	data := append([]byte(nil), p...)
	n := 0
	err := f.disk.do(Op{
		Name: fmt.Sprintf("write %s %d+%d", path.Base(f.name), offset, len(p)),
		Apply: func() error {
			n = len(p)
			f.change(change{data: data, offset: offset, flip: -1})
			return nil
		},
		Fail: func(how How) {
			if n = 0; how == ENOSPC && len(p) > 1 {
				n = len(p) / 2
				f.change(change{data: data[:n], offset: offset, flip: -1})
			}
		},
		Rot: func(seed uint64) {
			n = len(p)
			flip := rand.New(rand.NewPCG(seed, 1)).Int64N(int64(len(p)) * 8)
			f.change(change{data: data, offset: offset, flip: flip})
		},
	})
	return n, err
}

// WriteAt implements [io.WriterAt].
func (f *file) WriteAt(p []byte, offset int64) (int, error) {
	done, err := f.begin("write", true)
	defer done()
	if err != nil {
		return 0, err
	}
	return f.writeAt(p, offset)
}

// Write implements [io.Writer].
func (f *file) Write(p []byte) (int, error) {
	done, err := f.begin("write", true)
	defer done()
	if err != nil {
		return 0, err
	}
	n, err := f.writeAt(p, f.at)
	f.at += int64(n)
	return n, err
}

// Truncate implements [otad/ota/durable.File].
func (f *file) Truncate(size int64) error {
	done, err := f.begin("truncate", true)
	defer done()
	if err != nil {
		return err
	}
	return f.truncate(size)
}

// Sync implements [otad/ota/durable.File]. One that fails for the medium drops
// what was pending, and the cache goes on showing it.
func (f *file) Sync() error {
	done, err := f.begin("sync", false)
	defer done()
	if err != nil {
		return err
	}
	n := f.node
	return f.disk.do(Op{
		Name: "sync " + path.Base(f.name),
		Apply: func() error {
			if !n.differs {
				n.kept.bytes, n.changes = n.cache.bytes, nil
				return nil
			}
			for _, c := range n.changes {
				n.kept.bytes = c.on(n.kept.bytes)
			}
			n.changes = nil
			return nil
		},
		Fail: func(how How) {
			if how != EROFS {
				n.differs = n.differs || len(n.changes) > 0
				n.changes = nil
			}
		},
	})
}

// DropCache implements [otad/ota/durable.File].
func (f *file) DropCache() error {
	done, err := f.begin("drop cache", false)
	defer done()
	if err != nil {
		return err
	}
	f.node.differs = f.node.differs && len(f.node.changes) > 0
	f.node.cache.bytes = f.node.kept.bytes
	for _, c := range f.node.changes {
		f.node.cache.bytes = c.seen(f.node.cache.bytes)
	}
	return nil
}

// ReadAt implements [io.ReaderAt].
func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	done, err := f.begin("read", false)
	defer done()
	if err != nil {
		return 0, err
	}
	return f.node.cache.bytes.readAt(p, offset)
}

// Read implements [io.Reader].
func (f *file) Read(p []byte) (int, error) {
	done, err := f.begin("read", false)
	defer done()
	if err != nil {
		return 0, err
	}
	n, err := f.node.cache.bytes.readAt(p, f.at)
	f.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Seek implements [io.Seeker].
func (f *file) Seek(offset int64, whence int) (int64, error) {
	done, err := f.begin("seek", false)
	defer done()
	if err != nil {
		return 0, err
	}
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.node.cache.bytes.size
	}
	if offset < 0 {
		return 0, &fs.PathError{Op: "seek", Path: f.name, Err: fs.ErrInvalid}
	}
	f.at = offset
	return offset, nil
}

// Stat implements [otad/ota/durable.File].
func (f *file) Stat() (fs.FileInfo, error) {
	done, err := f.begin("stat", false)
	defer done()
	if err != nil {
		return nil, err
	}
	return info{name: path.Base(f.name), node: f.node, size: f.node.cache.bytes.size}, nil
}

// Name implements [otad/ota/durable.File].
func (f *file) Name() string { return f.name }

// Close implements [io.Closer]. It makes nothing durable.
func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}
