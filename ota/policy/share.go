package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"strings"
	"time"
)

// Share is a part of d, from nothing up to but not including all of it, that
// the words decide: always the same for the same words, evenly spread over
// different ones. A device and what it is about give each box a time of its
// own, and let no box be the last in everything.
func Share(d time.Duration, words ...string) time.Duration {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	part, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:]), uint64(max(0, d)))
	return time.Duration(part)
}
