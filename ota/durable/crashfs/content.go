package crashfs

import "io"

const pageBytes = 4096

// content is the bytes of a file, in pages that are never changed once they
// are shared: a copy of it costs a slice of pointers. A nil page is zeros.
type content struct {
	size  int64
	pages []*[pageBytes]byte
}

func (c content) clone() content {
	c.pages = append([]*[pageBytes]byte(nil), c.pages...)
	return c
}

// write returns c with data at offset; c stays as it is.
func (c content) write(data []byte, offset int64) content {
	end := offset + int64(len(data))
	c = c.resize(max(c.size, end))
	for len(data) > 0 {
		page, at := offset/pageBytes, offset%pageBytes
		next := new([pageBytes]byte)
		if old := c.pages[page]; old != nil && (at != 0 || len(data) < pageBytes) {
			*next = *old
		}
		n := copy(next[at:], data)
		c.pages[page] = next
		data, offset = data[n:], offset+int64(n)
	}
	return c
}

// resize returns c cut off or filled up with zeros; c stays as it is.
func (c content) resize(size int64) content {
	pages := make([]*[pageBytes]byte, (size+pageBytes-1)/pageBytes)
	copy(pages, c.pages)
	if rest := size % pageBytes; size < c.size && rest != 0 && pages[len(pages)-1] != nil {
		last := new([pageBytes]byte)
		copy(last[:rest], pages[len(pages)-1][:])
		pages[len(pages)-1] = last
	}
	return content{size: size, pages: pages}
}

func (c content) readAt(p []byte, offset int64) (int, error) {
	done := 0
	for done < len(p) && offset < c.size {
		page, at := offset/pageBytes, offset%pageBytes
		n := int(min(pageBytes-at, c.size-offset, int64(len(p)-done)))
		if from := c.pages[page]; from != nil {
			copy(p[done:done+n], from[at:])
		} else {
			clear(p[done : done+n])
		}
		done, offset = done+n, offset+int64(n)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// change is a pending write or truncate of a file.
type change struct {
	seq      int // order over the whole disk
	data     []byte
	offset   int64
	truncate bool  // to offset
	flip     int64 // bit of data that the medium flips, -1 for none
}

// on returns what c is when the change is on the medium.
func (ch change) on(c content) content {
	if ch.truncate {
		return c.resize(ch.offset)
	}
	if ch.flip < 0 {
		return c.write(ch.data, ch.offset)
	}
	bad := append([]byte(nil), ch.data...)
	bad[ch.flip/8] ^= 1 << (ch.flip % 8)
	return c.write(bad, ch.offset)
}

// seen returns what c is in the cache.
func (ch change) seen(c content) content {
	ch.flip = -1
	return ch.on(c)
}

// naming is a pending change of a directory: del goes and set comes, at once.
type naming struct {
	seq  int
	del  string
	set  string
	node *node
}

func (n naming) on(names map[string]*node) {
	if n.del != "" {
		delete(names, n.del)
	}
	if n.set != "" {
		names[n.set] = n.node
	}
}
