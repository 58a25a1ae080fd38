package install

import (
	"io"
	"sync"
)

// ahead reads a payload a bounded way ahead of who unpacks it, so that the
// network goes on while the medium is slow. It ends with the payload.
type ahead struct {
	full, free chan *piece
	now        *piece
	at         int   // in now
	taken      int64 // bytes that were handed out
	quit       chan struct{}
	ended      chan struct{}
}

type piece struct {
	buf [aheadBytes]byte
	n   int
	err error // behind the bytes
}

const (
	aheadBytes  = 128 << 10
	aheadPieces = 6
)

var piecePool = sync.Pool{New: func() any { return new(piece) }}

// readAhead begins to read r to its end. Nobody else may read it until stop.
func readAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan *piece, aheadPieces), free: make(chan *piece, aheadPieces),
		quit: make(chan struct{}), ended: make(chan struct{})}
	for range aheadPieces {
		a.free <- piecePool.Get().(*piece)
	}
	go func() {
		defer close(a.ended)
		for {
			select {
			case p := <-a.free:
				p.fill(r)
				a.full <- p // there is room for all pieces
				if p.err != nil {
					return
				}
			case <-a.quit:
				return
			}
		}
	}()
	return a
}

func (p *piece) fill(r io.Reader) {
	p.n, p.err = 0, nil
	for p.n < len(p.buf) && p.err == nil {
		var n int
		n, p.err = r.Read(p.buf[p.n:])
		p.n += n
	}
}

func (a *ahead) Read(b []byte) (int, error) {
	for a.now == nil || a.at == a.now.n {
		if a.now != nil {
			if a.now.err != nil {
				return 0, a.now.err
			}
			a.free <- a.now
		}
		a.now, a.at = <-a.full, 0
	}
	n := copy(b, a.now.buf[a.at:a.now.n])
	a.at += n
	a.taken += int64(n)
	return n, nil
}

// stop ends the reading. When it has to be cut short, the source is closed.
func (a *ahead) stop(source io.Closer) {
	close(a.quit)
	if a.now == nil || a.now.err == nil {
		source.Close() // the error is that of the reading, which nobody wants
	}
	<-a.ended
	for _, pieces := range []chan *piece{a.free, a.full} {
		for len(pieces) > 0 {
			piecePool.Put(<-pieces)
		}
	}
	if a.now != nil {
		piecePool.Put(a.now)
	}
}
