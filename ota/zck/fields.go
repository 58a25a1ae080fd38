package zck

// fields reads a header's fields one by one. After the first that is not whole
// it is broken and gives zeros, so that a reader may ask once, at the end.
type fields struct {
	b      []byte
	broken bool
}

// bytes takes the next n bytes.
func (f *fields) bytes(n int) []byte {
	if n > len(f.b) {
		f.broken, f.b = true, nil
		return nil
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

// number takes a number: seven bits a byte, the lowest first; the last byte has
// its top bit set. Numbers above 63 bits are broken ones.
func (f *fields) number() uint64 {
	var v uint64
	for i, c := range f.b {
		if i == 9 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c&0x80 != 0 {
			f.b = f.b[i+1:]
			return v
		}
	}
	f.broken, f.b = true, nil
	return 0
}

// appendNumber writes what number reads.
func appendNumber(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v&0x7f))
		v >>= 7
	}
	return append(b, byte(v)|0x80)
}
