package vbox

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// part is a partition of a box's disk, in bytes.
type part struct{ offset, size int64 }

// partitions reads what mkbox.sh noted of an architecture's disk.
func partitions(arch string) (map[string]part, error) {
	f, err := os.Open(filepath.Join(parts, arch, "parts"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]part{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var name string
		var p part
		if _, err := fmt.Sscan(lines.Text(), &name, &p.offset, &p.size); err != nil {
			return nil, fmt.Errorf("cannot read %q: %w", f.Name(), err)
		}
		all[name] = p
	}
	return all, nil
}

// run runs a tool and returns what it says.
func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), err
}

// copyDisk copies a disk image, holes and all.
func copyDisk(from, to string) error {
	_, err := run(context.Background(), "cp", "--sparse=always", "--reflink=auto", from, to)
	return err
}

// put writes the image file into the partition.
func put(disk string, p part, image string) error {
	in, err := os.Open(image)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	// A new disk is all zeros: what is zero in the image stays a hole.
	buffer := make([]byte, 64<<10)
	for at := int64(0); ; {
		n, err := io.ReadFull(in, buffer)
		if n > 0 && at+int64(n) > p.size {
			return errors.Join(fmt.Errorf("%q does not fit into its partition", image), out.Close())
		}
		if bytes.Count(buffer[:n], []byte{0}) < n {
			if _, err := out.WriteAt(buffer[:n], p.offset+at); err != nil {
				return errors.Join(err, out.Close())
			}
		}
		at += int64(n)
		if err != nil {
			return out.Close()
		}
	}
}

// sum is the hash of the first size bytes of the partition, or of a file when
// the partition has no size.
func sum(file string, p part, size int64) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, p.offset, size)); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// holds tells whether the slot of the disk holds the image, byte for byte.
func holds(disk string, slot part, image string) (bool, error) {
	info, err := os.Stat(image)
	if err != nil {
		return false, err
	}
	want, err := sum(image, part{}, info.Size())
	if err != nil {
		return false, err
	}
	got, err := sum(disk, slot, info.Size())
	return got == want, err
}

// environment reads the boot environment with Debian's fw_printenv.
func environment(disk string, env part) (map[string]string, error) {
	config := disk + ".fw_env.config"
	text := fmt.Sprintf("%s %#x 0x4000\n%s %#x 0x4000\n", disk, env.offset, disk, env.offset+0x4000)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	out, err := run(context.Background(), "fw_printenv", "-c", config)
	if err != nil {
		return nil, err
	}
	vars := map[string]string{}
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			vars[name] = value
		}
	}
	return vars, nil
}

// wipe overwrites the partition with ones, as erased flash is.
func wipe(disk string, p part) error {
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, int(p.size)), p.offset)
	return errors.Join(err, f.Close())
}

// zeros tells whether nothing was ever written to the partition.
func zeros(disk string, p part) (bool, error) {
	got, err := sum(disk, p, p.size)
	if err != nil {
		return false, err
	}
	want := sha256.New()
	_, err = io.CopyN(want, zero{}, p.size)
	return got == fmt.Sprintf("%x", want.Sum(nil)), err
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// goodCopy tells whether the copy of the environment there has its check sum.
func goodCopy(disk string, offset int64) (bool, error) {
	f, err := os.Open(disk)
	if err != nil {
		return false, err
	}
	defer f.Close()
	image := make([]byte, 0x4000)
	if _, err := f.ReadAt(image, offset); err != nil {
		return false, err
	}
	return binary.LittleEndian.Uint32(image) == crc32.ChecksumIEEE(image[5:]), nil
}

// blockWithErrors is a disk that fails writes that touch one of the sectors.
func blockWithErrors(disk string, sectors ...int64) []string {
	debug := "driver=blkdebug,node-name=d0,image=raw0"
	for i, s := range sectors {
		debug += fmt.Sprintf(",inject-error.%d.event=none,inject-error.%d.iotype=write,inject-error.%d.errno=5,inject-error.%d.sector=%d", i, i, i, i, s)
	}
	return []string{"driver=file,node-name=raw0,cache.no-flush=on,filename=" + disk, debug}
}
