package install

import (
	"encoding/binary"
	"io"
)

// extentOf is how many bytes of a medium its file system takes, which is less
// than all where a slot has room to spare: what lies behind is nothing to copy
// from. All of it when the file system is none of those that say so: squashfs,
// and ext2 to ext4. It is only a hint; every chunk is checked in any case.
func extentOf(m io.ReaderAt, size int64) int64 {
	var head [2048]byte
	if n, _ := m.ReadAt(head[:], 0); n < len(head) {
		return size
	}
	little := binary.LittleEndian
	var taken int64
	switch super := head[1024:]; {
	case string(head[:4]) == "hsqs":
		const padding = 4096 // that mksquashfs ends with
		taken = int64(little.Uint64(head[40:])+padding-1) &^ (padding - 1)
	case little.Uint16(super[0x38:]) == 0xef53:
		blocks, log := int64(little.Uint32(super[0x4:])), little.Uint32(super[0x18:])
		if little.Uint32(super[0x60:])&0x80 != 0 { // INCOMPAT_64BIT
			blocks |= int64(little.Uint32(super[0x150:])) << 32
		}
		taken = blocks << (10 + log&7)
	}
	if taken <= 0 || taken > size {
		return size
	}
	return taken
}
