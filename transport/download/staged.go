package download

import (
	"os"
	"path/filepath"

	"otad/ota/durable"
)

// windowBytes is the unit of write-back. At most two windows are dirty at a
// time, and what was written leaves the page cache: a viewer's recording next
// door is neither stalled by a flush of hundreds of MiB nor evicted.
const windowBytes = 4 << 20

// staged is the file in the staging directory. grab writes to it through a
// descriptor of its own; this one shortens, paces and syncs it.
type staged struct {
	file        *os.File
	startBytes  int64 // where this attempt's bytes begin
	storedBytes int64 // written, perhaps only to the page cache
	// Write-back runs over [settledBytes, pacedBytes) now; what is before it is
	// on the medium, what is behind it is dirty.
	settledBytes, pacedBytes int64
}

// openStaged opens path, or creates it.
//
// Calls: open(create), syncdir. The directory is synced even if the file was
// there: an earlier process may have died between the two.
func openStaged(path string) (*staged, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := durable.OS.SyncDir(filepath.Dir(path)); err != nil {
		file.Close()
		return nil, err
	}
	return &staged{file: file}, nil
}

func (s *staged) size() (int64, error) {
	info, err := s.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// cut shortens the file to size; what follows is written behind it.
func (s *staged) cut(size int64) error {
	if err := s.file.Truncate(size); err != nil {
		return err
	}
	s.startBytes, s.storedBytes, s.settledBytes, s.pacedBytes = size, size, size, size
	return nil
}

// grew takes note of n bytes that grab appended, and tells whether that filled
// a window: then its write-back is started and the one before is waited for.
func (s *staged) grew(n int64) (windowDone bool, err error) {
	s.storedBytes += n
	if s.storedBytes-s.pacedBytes < windowBytes {
		return false, nil
	}
	if err := durable.StartWrite(s.file, s.pacedBytes, s.storedBytes-s.pacedBytes); err != nil {
		return false, err
	}
	if s.pacedBytes > s.settledBytes { // a length of 0 would mean "to the end"
		if err := durable.Settle(s.file, s.settledBytes, s.pacedBytes-s.settledBytes); err != nil {
			return false, err
		}
	}
	s.settledBytes, s.pacedBytes = s.pacedBytes, s.storedBytes
	return true, nil
}

// sync returns when every stored byte is on the medium, and lets go of the
// pages that were still in memory.
func (s *staged) sync() error {
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := durable.DropRange(s.file, s.settledBytes, s.storedBytes-s.settledBytes); err != nil {
		return err
	}
	s.settledBytes, s.pacedBytes = s.storedBytes, s.storedBytes
	return nil
}

// close ignores the error: what counts was synced before.
func (s *staged) close() { s.file.Close() }
