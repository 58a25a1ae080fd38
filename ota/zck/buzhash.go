package zck

import "math/bits"

// window is how many bytes the rolling hash looks back.
const window = 48

// leaving is what a byte's entry has become when it leaves the window.
var leaving = func() (t [256]uint32) {
	for i, v := range buzhash {
		t[i] = bits.RotateLeft32(v, window)
	}
	return t
}()

// cut returns the length of the chunk at the start of b, which begins where the
// chunk before ended and holds p.Max bytes, or all there are.
func cut(b []byte, p Params) int {
	if len(b) <= window {
		return len(b)
	}
	mask := uint32(p.Average - 1)
	i, h := window-1, hashOf((*[window]byte)(b))
	for {
		if h&mask != 0 {
			i, h = scan(b, i, h, mask)
		}
		if i >= p.Min || i == len(b) {
			return i
		}
		var found bool
		if i, h, found = repeat(b, i, h, p); found {
			return i
		}
	}
}

// scan goes on behind byte i, whose window hashes to h, to the next match, and
// returns where and what that is; len(b) if there is none.
func scan(b []byte, i int, h, mask uint32) (int, uint32) {
	in := b[i+1:]
	out := b[i+1-window:]
	out = out[:len(in)] // no bounds check below
	for k, c := range in {
		h = bits.RotateLeft32(h, 1) ^ leaving[out[k]] ^ buzhash[c]
		if h&mask == 0 {
			return i + 1 + k, h
		}
	}
	return len(b), h
}

// hashOf is the hash of a whole window.
func hashOf(b *[window]byte) (h uint32) {
	for _, c := range b {
		h = bits.RotateLeft32(h, 1) ^ buzhash[c]
	}
	return h
}

// repeat goes on from a match at byte i that is too early for a cut. zchunk has a
// quirk there that is part of the format by now: it takes the byte of the match
// into the window a second time (and again, while that matches too; a byte that
// would for ever is left after a whole window of it, where zchunk hangs). So the
// window is no part of b until the byte has left it. It returns where that is,
// with the hash; or where the chunk ends, and true.
func repeat(b []byte, i int, h uint32, p Params) (int, uint32, bool) {
	var ring [window]byte
	copy(ring[:], b[i+1-window:])
	mask := uint32(p.Average - 1)
	last, times := i, 1 // the byte that was taken again, and how often
	for oldest := 0; ; oldest = (oldest + 1) % window {
		h = bits.RotateLeft32(h, 1) ^ leaving[ring[oldest]] ^ buzhash[b[i]]
		ring[oldest] = b[i]
		match := h&mask == 0
		switch {
		case match && i >= p.Min:
			return i, h, true
		case match && i != last:
			last, times = i, 1
			continue
		case match && times < window:
			times++
			continue
		case i == last+window-1:
			return i, h, false
		}
		if i++; i == len(b) {
			return i, h, true
		}
	}
}
