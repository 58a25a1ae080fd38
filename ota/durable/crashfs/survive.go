package crashfs

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
)

// Survive returns the disk as it is when the power comes back: what was synced,
// and of what was pending the part that how leaves. The disk itself stays as it
// is. The new one draws from power.
func (d *Disk) Survive(how How, seed uint64, power *Power) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := survivor{how: how, roll: rand.New(rand.NewPCG(seed, 0)), copies: map[*node]*node{}}
	for _, p := range d.pending() {
		s.last = max(s.last, p.seq)
		if p.write {
			s.lastWrite = max(s.lastWrite, p.seq)
		}
	}
	return &Disk{power: power, root: s.copy(d.root)}
}

// waiting is one pending change of the disk.
type waiting struct {
	seq   int
	write bool // of bytes
	bytes int
}

// pending lists what no sync has returned for, in order.
func (d *Disk) pending() []waiting {
	var list []waiting
	seen := map[*node]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		for _, c := range n.changes {
			list = append(list, waiting{c.seq, !c.truncate, len(c.data)})
		}
		for _, c := range n.namings {
			list = append(list, waiting{seq: c.seq})
			walk(c.node)
		}
		for _, child := range n.kept.names {
			walk(child)
		}
	}
	walk(d.root)
	slices.SortFunc(list, func(a, b waiting) int { return cmp.Compare(a.seq, b.seq) })
	return list
}

// ways lists the ways to lose power now that differ from one another.
func (d *Disk) ways() []How {
	ways := []How{Before, Lost}
	list := d.pending()
	if len(list) == 0 {
		return ways
	}
	ways = append(ways, Kept)
	var writes, names, last int
	for _, w := range list {
		if w.write {
			writes, last = writes+1, w.bytes
		} else {
			names++
		}
	}
	if writes > 0 {
		ways = append(ways, Torn512, Zeros)
		if last > pageBytes {
			ways = append(ways, Torn4096)
		}
		if names > 0 {
			ways = append(ways, Names, Content)
		}
	}
	if len(list) > 1 {
		ways = append(ways, Reordered)
	}
	if len(list) > 2 {
		ways = append(ways, Some)
	}
	return ways
}

// survivor copies a tree of nodes as it survives.
type survivor struct {
	how             How
	roll            *rand.Rand
	copies          map[*node]*node
	last, lastWrite int
}

func (s *survivor) copy(n *node) *node {
	if c := s.copies[n]; c != nil {
		return c
	}
	c := &node{dir: n.dir, perm: n.perm}
	s.copies[n] = c
	c.kept.bytes = n.kept.bytes.clone()
	for _, change := range n.changes {
		if change, ok := s.change(change, c.kept.bytes); ok {
			c.kept.bytes = change.on(c.kept.bytes)
		}
	}
	c.cache.bytes = c.kept.bytes
	if !n.dir {
		return c
	}
	names := maps.Clone(n.kept.names)
	for _, naming := range n.namings {
		if s.naming(naming) {
			naming.on(names)
		}
	}
	c.kept.names = map[string]*node{}
	for _, name := range slices.Sorted(maps.Keys(names)) { // in order, for the dice
		c.kept.names[name] = s.copy(names[name])
	}
	c.cache.names = maps.Clone(c.kept.names)
	return c
}

// change says what of a write or truncate reached the medium.
func (s *survivor) change(c change, before content) (change, bool) {
	switch s.how {
	case Kept, Content:
		return c, true
	case Torn512, Torn4096:
		if c.seq == s.lastWrite {
			c.data = c.data[:s.tear(len(c.data))]
			c.flip = -1
		}
		return c, true
	case Zeros:
		if !c.truncate {
			c = change{truncate: true, offset: max(before.size, c.offset+int64(len(c.data)))}
		}
		return c, true
	case Reordered:
		return c, c.seq == s.lastWrite || s.lastWrite == 0 && c.seq == s.last
	case Some:
		return c, s.roll.IntN(2) == 0
	}
	return c, false
}

// tear says how much of a write of n bytes is on the medium.
func (s *survivor) tear(n int) int {
	switch {
	case s.how == Torn512 && n > 512:
		return 512
	case s.how == Torn4096 && n > pageBytes:
		return pageBytes * (1 + s.roll.IntN((n-1)/pageBytes))
	}
	return n / 2
}

func (s *survivor) naming(n naming) bool {
	switch s.how {
	case Kept, Torn512, Torn4096, Names, Zeros:
		return true
	case Reordered:
		return s.lastWrite != 0 || n.seq == s.last
	case Some:
		return s.roll.IntN(2) == 0
	}
	return false
}
