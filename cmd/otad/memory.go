package main

import (
	"os"
	"runtime/debug"
)

// How much memory the collector may let pile up. A box has a few hundred MiB
// for everything, most of it for playback, and otad is idle for all but minutes
// of its life.
//
// What lives is small and known: about 2 MiB while idle; during an install the
// buffers of the transfer (5 MiB, kept in a pool), and of the decompressor
// about as much as its window, 8 MiB at most. Nothing big is allocated again
// and again, so collecting early costs next to nothing, and the default of
// letting the heap double would waste just what the buffers take.
const (
	// collectPercent is how much may be allocated, relative to what lives, before
	// the next collection.
	collectPercent = 25
	// memoryLimit makes the collector work harder still, and give back what it
	// freed, before the service takes more. It is above what the largest install
	// needs, or collecting would never end.
	memoryLimit = 24 << 20
)

// boundMemory sets the collector on purpose. Whoever sets GOGC or GOMEMLIMIT
// knows better.
func boundMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
