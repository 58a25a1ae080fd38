package crashfs

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"otad/ota/durable"
)

// Disk is a [durable.FS] in memory. It is safe for concurrent use.
type Disk struct {
	mu    sync.Mutex
	power *Power
	root  *node
	seq   int
}

var (
	_ durable.FS   = (*Disk)(nil)
	_ durable.File = (*file)(nil)
)

// node is a file or a directory: as programs see it, as it is on the medium,
// and what is pending in between.
type node struct {
	dir     bool
	perm    fs.FileMode
	cache   state
	kept    state
	changes []change
	namings []naming
	// differs: the cache shows what the changes do not bring to the medium.
	differs bool
}

type state struct {
	bytes content
	names map[string]*node
}

// New returns an empty disk.
func New(power *Power) *Disk { return &Disk{power: power, root: newDir(0o755)} }

func newDir(perm fs.FileMode) *node {
	return &node{dir: true, perm: perm, cache: state{names: map[string]*node{}}, kept: state{names: map[string]*node{}}}
}

// Put stores a file at once and for good, with the directories above it: for
// what was there before the story begins. It is no call.
func (d *Disk) Put(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.root
	parts := split(name)
	for i, part := range parts {
		next := at.cache.names[part]
		if next == nil {
			next = newDir(0o755)
			next.dir = i < len(parts)-1
			at.cache.names[part], at.kept.names[part] = next, next
		}
		at = next
	}
	at.kept.bytes = content{}.write(data, 0)
	at.cache.bytes, at.changes = at.kept.bytes, nil
}

func split(name string) []string {
	return strings.FieldsFunc(path.Clean("/"+name), func(r rune) bool { return r == '/' })
}

// find walks to name.
func (d *Disk) find(op, name string) (*node, error) {
	at := d.root
	for _, part := range split(name) {
		if !at.dir {
			return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
		}
		if at = at.cache.names[part]; at == nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
	}
	return at, nil
}

// parent finds the directory of name.
func (d *Disk) parent(op, name string) (*node, string, error) {
	dir, err := d.find(op, path.Dir(path.Clean("/"+name)))
	if err == nil && !dir.dir {
		err = &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return dir, path.Base(name), err
}

// do makes a durable call; d.mu is held.
func (d *Disk) do(op Op) error {
	op.Ways = func() []How {
		ways := append(d.ways(), EIO, EIOKept, EROFS)
		if !strings.HasPrefix(op.Name, "remove") && !strings.HasPrefix(op.Name, "syncdir") {
			ways = append(ways, ENOSPC)
		}
		if op.Rot != nil {
			ways = append(ways, Rot)
		}
		return ways
	}
	return d.power.Do(op)
}

// alive refuses reads without power.
func (d *Disk) alive() error {
	if d.power.Took() != nil {
		return ErrPowerLost
	}
	return nil
}

// rename changes the names of a directory as one pending change.
func (d *Disk) rename(dir *node, n naming) {
	d.seq++
	n.seq = d.seq
	n.on(dir.cache.names)
	dir.namings = append(dir.namings, n)
}

// OpenFile implements [durable.FS]. Creating and truncating are calls.
func (d *Disk) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.alive(); err != nil {
		return nil, err
	}
	n, err := d.find("open", name)
	switch {
	case err == nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case err != nil && flag&os.O_CREATE != 0:
		if n, err = d.create(name, perm); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	f := &file{disk: d, node: n, name: name, flag: flag}
	if flag&os.O_TRUNC != 0 && n.cache.bytes.size > 0 {
		if err := f.truncate(0); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (d *Disk) create(name string, perm fs.FileMode) (*node, error) {
	dir, base, err := d.parent("open", name)
	if err != nil {
		return nil, err
	}
	n := &node{perm: perm}
	return n, d.do(Op{Name: "create " + base, Apply: func() error {
		d.rename(dir, naming{set: base, node: n})
		return nil
	}})
}

// Rename implements [durable.FS] within one directory.
func (d *Disk) Rename(oldname, newname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.alive(); err != nil {
		return err
	}
	n, err := d.find("rename", oldname)
	if err != nil {
		return err
	}
	dir, base, err := d.parent("rename", newname)
	if err != nil {
		return err
	}
	if path.Dir(oldname) != path.Dir(newname) {
		return &fs.PathError{Op: "rename", Path: newname, Err: syscall.EXDEV}
	}
	old := path.Base(oldname)
	return d.do(Op{Name: fmt.Sprintf("rename %s to %s", old, base), Apply: func() error {
		d.rename(dir, naming{del: old, set: base, node: n})
		return nil
	}})
}

// Remove implements [durable.FS].
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.alive(); err != nil {
		return err
	}
	if _, err := d.find("remove", name); err != nil {
		return err
	}
	dir, base, err := d.parent("remove", name)
	if err != nil {
		return err
	}
	return d.do(Op{Name: "remove " + base, Apply: func() error {
		d.rename(dir, naming{del: base})
		return nil
	}})
}

// Mkdir implements [durable.FS].
func (d *Disk) Mkdir(name string, perm fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.alive(); err != nil {
		return err
	}
	dir, base, err := d.parent("mkdir", name)
	if err != nil {
		return err
	}
	if dir.cache.names[base] != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
	}
	return d.do(Op{Name: "mkdir " + base, Apply: func() error {
		d.rename(dir, naming{set: base, node: newDir(perm)})
		return nil
	}})
}

// ReadDir implements [durable.FS].
func (d *Disk) ReadDir(name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.alive(); err != nil {
		return nil, err
	}
	n, err := d.find("readdir", name)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(n.cache.names)), nil
}

// SyncDir implements [durable.FS].
func (d *Disk) SyncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.alive(); err != nil {
		return err
	}
	n, err := d.find("syncdir", name)
	if err != nil {
		return err
	}
	return d.do(Op{Name: "syncdir " + path.Base(name), Apply: func() error {
		for _, naming := range n.namings {
			naming.on(n.kept.names)
		}
		n.namings = nil
		return nil
	}})
}

// info is what Stat tells.
type info struct {
	name string
	node *node
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.node.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.node.dir {
		return i.node.perm | fs.ModeDir
	}
	return i.node.perm
}
