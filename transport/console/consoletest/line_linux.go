package consoletest

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Line is what lies between two ports.
type Line struct {
	Baud    int // 10 bits a byte; 0 for no limit
	Speedup int // the line's time runs that much faster than the clock; 0 for 1
	// ErrorEvery is how many bytes there are for each that comes out as
	// another one; 0 for none.
	ErrorEvery int
	Seed       uint64
	// MatchBaud garbles everything unless both ports have the same speed.
	MatchBaud bool
	// Silent, while true, loses everything.
	Silent atomic.Bool
	// Carried counts the bytes of both directions.
	Carried atomic.Int64
}

// Connect lays the line between two ports. It ends with either of them.
func (l *Line) Connect(a, b *Pty) {
	go l.carry(a, b, rand.New(rand.NewPCG(l.Seed, 1)))
	go l.carry(b, a, rand.New(rand.NewPCG(l.Seed, 2)))
}

// slack is what the line may be early: a clock does not wake us more often.
const slack = time.Millisecond

func (l *Line) carry(from, to *Pty, chance *rand.Rand) {
	var free time.Time // when the line has carried what it has
	buffer := make([]byte, 512)
	for {
		n, err := from.Cable.Read(buffer)
		if err != nil {
			return
		}
		if l.Silent.Load() {
			continue
		}
		l.Carried.Add(int64(n))
		l.garble(buffer[:n], from, to, chance)
		if l.Baud > 0 {
			if now := time.Now(); free.Before(now) {
				free = now
			}
			free = free.Add(time.Duration(n) * 10 * time.Second / time.Duration(l.Baud*max(1, l.Speedup)))
			if wait := time.Until(free); wait > slack {
				time.Sleep(wait)
			}
		}
		if _, err := to.Cable.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (l *Line) garble(data []byte, from, to *Pty, chance *rand.Rand) {
	wrong := l.MatchBaud && from.Baud() != to.Baud()
	for i := range data {
		if wrong || l.ErrorEvery > 0 && chance.IntN(l.ErrorEvery) == 0 {
			data[i] ^= byte(1 + chance.IntN(255))
		}
	}
}
