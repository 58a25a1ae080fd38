package main_test

import (
	"bytes"
	"fmt"
	"testing"

	"otad/ota/swu"
)

// entryOf finds an entry of an artifact; with no name the last one, its image.
func entryOf(t *testing.T, artifact []byte, name string) swu.Entry {
	t.Helper()
	archive, err := swu.Open(bytes.NewReader(artifact), int64(len(artifact)))
	must(t, err)
	entries := archive.Entries()
	for _, e := range entries {
		if e.Name == name {
			return e
		}
	}
	return entries[len(entries)-1]
}

// flipped is an artifact with one bit of one byte changed, as by an accident.
func flipped(artifact []byte, at int64) []byte {
	artifact = bytes.Clone(artifact)
	artifact[at] ^= 1
	return artifact
}

// swapped is an artifact in which two neighbours changed places from at on, as
// by somebody who knows that cpio's check sums are sums.
func swapped(artifact []byte, at int64) []byte {
	artifact = bytes.Clone(artifact)
	for artifact[at] == artifact[at+1] {
		at++
	}
	artifact[at], artifact[at+1] = artifact[at+1], artifact[at]
	return artifact
}

// unsigned is an artifact without its signature.
func unsigned(t *testing.T, artifact []byte) []byte {
	t.Helper()
	archive, err := swu.Open(bytes.NewReader(artifact), int64(len(artifact)))
	must(t, err)
	var out bytes.Buffer
	for _, e := range archive.Entries() {
		if e.Name != swu.SignatureName {
			writeEntry(&out, e.Name, artifact[e.OffsetBytes:e.OffsetBytes+e.SizeBytes])
		}
	}
	writeEntry(&out, "TRAILER!!!", nil)
	return out.Bytes()
}

// writeEntry writes one file in cpio's newc form.
func writeEntry(out *bytes.Buffer, name string, data []byte) {
	writeHeader(out, name, int64(len(data)))
	out.Write(data)
	pad(out)
}

// writeHeader writes what is before a file's data.
func writeHeader(out *bytes.Buffer, name string, size int64) {
	const regular = 0o100644
	fmt.Fprintf(out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		0, regular, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0)
	out.WriteString(name + "\x00")
	pad(out)
}

func pad(out *bytes.Buffer) { out.Write(make([]byte, -out.Len()&3)) }
