package console

// sieve separates the frames from everything else on a line, a byte at a time.
// It keeps one unfinished frame of bounded length and nothing else.
type sieve struct {
	body   []byte // of the unfinished frame
	sum    []byte // of its CRC
	bar    bool   // outside of a frame: the last byte was a bar, and is withheld
	inside bool
	closed bool // the end mark was seen; the CRC follows
}

// sifted is what a byte completed. At most one of frame and torn is set.
type sifted struct {
	text  []byte // bytes outside of frames; valid until the next feed
	frame *frame
	torn  bool // a frame began and did not end well
}

const sumDigits = 8

func (s *sieve) feed(b byte) sifted {
	switch {
	case !s.inside:
		return s.outside(b)
	case escaped(b) && b != '|': // a frame is one line
		s.inside = false
		return sifted{torn: true}
	case s.closed:
		return s.digit(b)
	}
	s.body = append(s.body, b)
	if n := len(s.body); n >= 2 && s.body[n-2] == '|' {
		switch b {
		case ';':
			s.body, s.closed, s.sum = s.body[:n-2], true, s.sum[:0]
			return sifted{}
		case ':': // the next one begins: this one lost its end
			s.begin()
			return sifted{torn: true}
		}
	}
	if len(s.body) > maxFrame {
		s.inside = false
		return sifted{torn: true}
	}
	return sifted{}
}

func (s *sieve) begin() { s.inside, s.closed, s.body = true, false, s.body[:0] }

func (s *sieve) outside(b byte) sifted {
	switch {
	case s.bar && b == ':':
		s.bar = false
		s.begin()
		return sifted{}
	case s.bar && b == '|':
		return sifted{text: []byte{'|'}}
	case s.bar:
		s.bar = false
		return sifted{text: []byte{'|', b}}
	case b == '|':
		s.bar = true
		return sifted{}
	}
	s.sum = append(s.sum[:0], b)
	return sifted{text: s.sum}
}

func (s *sieve) digit(b byte) sifted {
	s.sum = append(s.sum, b)
	if len(s.sum) < sumDigits {
		return sifted{}
	}
	s.inside = false
	f, err := parseFrame(s.body, string(s.sum))
	if err != nil {
		return sifted{torn: true}
	}
	return sifted{frame: &f}
}
