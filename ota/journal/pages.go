package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt believes the pages of its file: a damaged one makes it panic, also in
// goroutines of its own where nobody can recover, read outside of the mapped
// file, or go round in circles. So the file is walked here first, as plain
// bytes and with every bound checked, and bbolt only sees a whole tree.
//
// The layout is that of bbolt 1.3 to 1.5 (internal/common: page.go, meta.go,
// inode.go, bucket.go), in the byte order of the machine:
//
//	page    id 8, flags 2, count 2, overflow 4, then elements, then their data
//	meta    magic 4, version 4, page size 4, flags 4, root 8, sequence 8,
//	        freelist 8, pages 8, transaction 8, check sum 8
//	branch  position 4, key size 4, page 8
//	leaf    flags 4, position 4, key size 4, value size 4
//	bucket  root 8, sequence 8, then its one page if root is 0
const (
	headerBytes  = 16
	elementBytes = 16
	bucketBytes  = 16
	metaBytes    = 64

	flagBranch     = 0x01
	flagLeaf       = 0x02
	flagBucketLeaf = 0x01

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = ^uint64(0)

	// maxFileBytes bounds what can be a journal; the bounds on its content keep
	// it far below.
	maxFileBytes = 64 << 20
)

var order = binary.NativeEndian

// checkPages walks every page that can be reached in the file of size bytes.
// An error says what is damaged.
func checkPages(r io.ReaderAt, size int64) error {
	if size > maxFileBytes {
		return fmt.Errorf("%d bytes are too many for a journal", size)
	}
	m, err := newestMeta(r, size)
	if err != nil {
		return err
	}
	if m.freelist != noFreelist {
		return errors.New("it has a list of free pages, so otad did not write it")
	}
	if m.pages > uint64(size/m.pageBytes) {
		return fmt.Errorf("it is cut off: %d pages of %d bytes do not fit into %d bytes", m.pages, m.pageBytes, size)
	}
	w := &walker{r: r, meta: m, seen: map[uint64]bool{}}
	return w.tree(m.root, nil, nil, true)
}

// meta is what a transaction ended with.
type meta struct {
	pageBytes             int64
	root, freelist, pages uint64
	transaction           uint64
}

// newestMeta finds the newer of the two meta pages that is whole, as bbolt
// does: a torn one is a transaction that was never committed.
func newestMeta(r io.ReaderAt, size int64) (meta, error) {
	first, firstOK := readMeta(r, 0)
	for pageBytes := int64(1 << 10); pageBytes <= 16<<20 && pageBytes < size; pageBytes <<= 1 {
		if firstOK && pageBytes != first.pageBytes {
			continue
		}
		second, secondOK := readMeta(r, pageBytes)
		if secondOK && second.pageBytes == pageBytes && (!firstOK || second.transaction > first.transaction) {
			return second, nil
		}
	}
	if !firstOK {
		return meta{}, errors.New("both of its meta pages are damaged, or it is no bbolt file")
	}
	return first, nil
}

func readMeta(r io.ReaderAt, offset int64) (meta, bool) {
	var b [headerBytes + metaBytes]byte
	if _, err := r.ReadAt(b[:], offset); err != nil {
		return meta{}, false
	}
	body := b[headerBytes:]
	sum := fnv.New64a()
	sum.Write(body[:metaBytes-8])
	if order.Uint32(body) != boltMagic || order.Uint32(body[4:]) != boltVersion || order.Uint64(body[56:]) != sum.Sum64() {
		return meta{}, false
	}
	m := meta{
		pageBytes: int64(order.Uint32(body[8:])), root: order.Uint64(body[16:]),
		freelist: order.Uint64(body[32:]), pages: order.Uint64(body[40:]), transaction: order.Uint64(body[48:]),
	}
	return m, m.pageBytes >= 1<<10
}

type walker struct {
	r    io.ReaderAt
	meta meta
	seen map[uint64]bool // so that no page is in the tree twice
}

// tree checks the page and all below it. Its keys must be in [low, high), where
// nil is no bound. Only the top tree holds buckets.
func (w *walker) tree(id uint64, low, high []byte, top bool) error {
	page, err := w.page(id)
	if err != nil {
		return err
	}
	if err := w.elements(page, low, high, top); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// page reads a page with the pages that it flows over to.
func (w *walker) page(id uint64) ([]byte, error) {
	header := make([]byte, headerBytes)
	if id < 2 || id >= w.meta.pages {
		return nil, fmt.Errorf("page %d is outside of the file", id)
	}
	if _, err := w.r.ReadAt(header, int64(id)*w.meta.pageBytes); err != nil {
		return nil, fmt.Errorf("page %d cannot be read: %w", id, err)
	}
	if got := order.Uint64(header); got != id {
		return nil, fmt.Errorf("page %d says that it is page %d", id, got)
	}
	more := uint64(order.Uint32(header[12:]))
	if more >= w.meta.pages-id {
		return nil, fmt.Errorf("page %d flows over by %d pages, out of the file", id, more)
	}
	for i := id; i <= id+more; i++ {
		if w.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		w.seen[i] = true
	}
	page := make([]byte, int64(more+1)*w.meta.pageBytes)
	if _, err := w.r.ReadAt(page, int64(id)*w.meta.pageBytes); err != nil {
		return nil, fmt.Errorf("page %d cannot be read: %w", id, err)
	}
	return page, nil
}

// element is one entry of a page.
type element struct {
	key, value []byte // value of a leaf
	child      uint64 // page of a branch
	bucket     bool
}

func (w *walker) elements(page []byte, low, high []byte, top bool) error {
	list, err := parseElements(page)
	if err != nil {
		return err
	}
	branch := order.Uint16(page[8:]) == flagBranch
	for i, e := range list {
		next := high
		if i+1 < len(list) {
			next = list[i+1].key
		}
		if bytes.Compare(e.key, low) < 0 || next != nil && bytes.Compare(e.key, next) >= 0 {
			return fmt.Errorf("key %x is out of order", e.key)
		}
		switch {
		case branch:
			err = w.tree(e.child, e.key, next, top)
		case top && e.bucket:
			err = w.bucket(e.value)
		case top != e.bucket:
			err = fmt.Errorf("key %x is no bucket where only buckets are, or the other way round", e.key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks a bucket in a page of its own or inside the value.
func (w *walker) bucket(value []byte) error {
	if len(value) < bucketBytes {
		return errors.New("a bucket is too short")
	}
	if root := order.Uint64(value); root != 0 {
		return w.tree(root, nil, nil, false)
	}
	inline := value[bucketBytes:]
	if len(inline) < headerBytes || order.Uint16(inline[8:]) != flagLeaf {
		return errors.New("a bucket inside of the page is no leaf")
	}
	return w.elements(inline, nil, nil, false)
}

// parseElements takes a page apart. bbolt writes keys and values behind the
// elements without a gap; anything else is damage, a wrong count among it.
func parseElements(page []byte) ([]element, error) {
	flags, count := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
	if flags != flagBranch && flags != flagLeaf || flags == flagBranch && count == 0 {
		return nil, fmt.Errorf("neither branch nor leaf (flags %#x, %d elements)", flags, count)
	}
	at := headerBytes + count*elementBytes
	if at > len(page) {
		return nil, fmt.Errorf("%d elements do not fit", count)
	}
	list := make([]element, count)
	for i := range list {
		offset := headerBytes + i*elementBytes
		b := page[offset:]
		var e element
		var position, keyBytes, valueBytes uint64
		if flags == flagBranch {
			position, keyBytes, e.child = uint64(order.Uint32(b)), uint64(order.Uint32(b[4:])), order.Uint64(b[8:])
		} else {
			position, keyBytes, valueBytes = uint64(order.Uint32(b[4:])), uint64(order.Uint32(b[8:])), uint64(order.Uint32(b[12:]))
			e.bucket = order.Uint32(b) == flagBucketLeaf
			if order.Uint32(b) > flagBucketLeaf {
				return nil, fmt.Errorf("element %d has unknown flags", i)
			}
		}
		if uint64(offset)+position != uint64(at) || keyBytes+valueBytes > uint64(len(page)-at) {
			return nil, fmt.Errorf("element %d lies outside of its place", i)
		}
		e.key = page[at : at+int(keyBytes)]
		e.value = page[at+int(keyBytes) : at+int(keyBytes+valueBytes)]
		at += int(keyBytes + valueBytes)
		list[i] = e
	}
	return list, nil
}
