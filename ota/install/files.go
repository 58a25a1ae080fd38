package install

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"otad/ota"
	"otad/ota/swu"
)

// A file goes to its directory through os.Root, so that no name and no link
// leads out of it; that is why the engine makes files durable by itself here
// and not through package durable.

// aside is the beginning of the names under which files wait for their last
// byte. What a crash leaves is overwritten by the next attempt.
const aside = ".otad-new-"

// putFile writes one file or unpacks one archive.
func (p *Plan) putFile(ctx context.Context, w work) error {
	root, err := os.OpenRoot(w.dir.Path)
	if err != nil {
		return fileFault(w, err)
	}
	defer root.Close()
	content, err := p.open(w.image)
	if err != nil {
		return err
	}
	defer content.Close()
	in := &interrupted{ctx, content}
	if w.dir.Trust {
		w.name = path.Join(pendingName, w.name)
		if err := makeDirectories(root, pendingName); err != nil {
			return fileFault(w, err)
		}
	}
	dir := w.name
	if w.image.Type == swu.TypeRawFile {
		dir = path.Dir(w.name)
	}
	if w.image.Properties["create-destination"] == "true" {
		if err := makeDirectories(root, dir); err != nil {
			return fileFault(w, err)
		}
	}
	if w.image.Type == swu.TypeArchive {
		return fileFault(w, unpack(root, dir, in, w.image.Properties["preserve-attributes"] == "true"))
	}
	return fileFault(w, writeFile(root, w.name, 0, in))
}

// writeFile puts a file in place of what is there, whole or not at all. A mode
// of zero means that of the file it replaces, else 0644.
func writeFile(root *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	if info, err := root.Lstat(name); mode == 0 && err == nil && info.Mode().IsRegular() {
		mode = info.Mode().Perm()
	} else if mode == 0 {
		mode = 0o644
	}
	temporary := path.Join(path.Dir(name), aside+path.Base(name))
	if err := root.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Chmod(mode) // past the umask
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temporary))
	}
	return syncDirectory(root, path.Dir(name))
}

func syncDirectory(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDirectories makes dir and all above it, each made durable by the sync of
// the one above.
func makeDirectories(root *os.Root, dir string) error {
	made := "."
	for _, part := range strings.Split(dir, "/") {
		above := made
		made = path.Join(made, part)
		err := root.Mkdir(made, 0o755)
		if err == nil {
			err = syncDirectory(root, above)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if info, err := root.Stat(dir); err != nil || !info.IsDir() {
		return errors.Join(err, fmt.Errorf("%q is no directory", dir))
	}
	return nil
}

// unpack unpacks a tar archive below dir. It may be compressed in itself, which
// its first bytes tell. Directories, files and links are made; anything else is
// refused.
func unpack(root *os.Root, dir string, content io.Reader, preserve bool) error {
	if info, err := root.Stat(dir); err != nil || !info.IsDir() {
		return errors.Join(err, fmt.Errorf("%q is no directory", dir))
	}
	in := bufio.NewReader(content)
	inner, err := swu.Decompress(kindInside(in), in)
	if err != nil {
		return err
	}
	defer inner.Close()
	entries := tar.NewReader(inner)
	for n := 0; ; n++ {
		h, err := entries.Next()
		if err == io.EOF && n > 0 {
			// The tar ends before its padding, and that before the payload's check.
			_, err := io.Copy(io.Discard, inner)
			_, rest := io.Copy(io.Discard, in)
			return errors.Join(err, rest)
		}
		if err != nil {
			return unexpectedEnd(err)
		}
		if err := unpackEntry(root, dir, h, entries, preserve); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

func unexpectedEnd(err error) error {
	if err == io.EOF {
		return errors.New("there is nothing in the archive")
	}
	return err
}

// kindInside looks at the first bytes.
func kindInside(in *bufio.Reader) string {
	start, _ := in.Peek(6) // a shorter one is no archive, which tar will say
	for kind, magic := range map[string]string{
		swu.KindZlib: "\x1f\x8b", swu.KindZstd: "\x28\xb5\x2f\xfd", swu.KindXZ: "\xfd7zXZ\x00", swu.KindLZ4: "\x04\x22\x4d\x18",
	} {
		if bytes.HasPrefix(start, []byte(magic)) {
			return kind
		}
	}
	return swu.KindNone
}

func unpackEntry(root *os.Root, dir string, h *tar.Header, content io.Reader, preserve bool) error {
	name := path.Clean(h.Name)
	if !fs.ValidPath(name) {
		return errors.New("the name is not allowed")
	}
	name = path.Join(dir, name)
	mode := fs.FileMode(h.Mode).Perm()
	if err := makeDirectories(root, path.Dir(name)); err != nil {
		return err
	}
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		if err = makeDirectories(root, name); err == nil {
			err = root.Chmod(name, mode)
		}
	case tar.TypeReg:
		err = writeFile(root, name, max(mode, 0o400), content)
	case tar.TypeSymlink:
		if err = removeOld(root, name); err == nil {
			err = root.Symlink(h.Linkname, name)
		}
	case tar.TypeLink:
		if err = removeOld(root, name); err == nil {
			err = root.Link(path.Join(dir, path.Clean(h.Linkname)), name)
		}
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return fmt.Errorf("an entry of type %q is not supported", h.Typeflag)
	}
	if err != nil {
		return err
	}
	if preserve {
		err = preserveAttributes(root, name, h)
	}
	return errors.Join(err, syncDirectory(root, path.Dir(name)))
}

func removeOld(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func preserveAttributes(root *os.Root, name string, h *tar.Header) error {
	if err := root.Lchown(name, h.Uid, h.Gid); err != nil || h.Typeflag == tar.TypeSymlink {
		return err
	}
	if err := root.Chmod(name, h.FileInfo().Mode()); err != nil { // lost by the change of owner
		return err
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}

// passing are the answers of a file system that may be another the next time.
var passing = []error{syscall.EIO, syscall.EROFS, syscall.EDQUOT, syscall.ENOMEM, syscall.EBUSY}

// fileFault classes what the file system answered; an error of the artifact
// keeps its own class. What is left is about the artifact too: a directory that
// is not there, an archive that is none.
func fileFault(w work, err error) error {
	var e *swu.Error
	var f *ota.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e), errors.As(err, &f):
		return artifactFault(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	cause := fmt.Errorf("cannot install %q to %q: %w", w.image.Filename, w.image.Path, err)
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return ota.NewTransient(ota.CodeNoSpace, cause)
	case slices.ContainsFunc(passing, func(p error) bool { return errors.Is(err, p) }):
		return ota.NewTransient(ota.CodeBoard, cause)
	}
	return ota.NewPermanent(ota.CodeArtifactUnsupported, cause)
}

// interrupted ends with its context.
type interrupted struct {
	ctx context.Context
	r   io.Reader
}

func (i *interrupted) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// open gives the bytes of a payload to be written. They end only if they are
// what was signed: the file was verified before, but this is a second reading.
func (p *Plan) open(image swu.Image) (io.ReadCloser, error) {
	plain, err := image.Plain(p.payload(image.Filename), p.around.Key)
	if err != nil {
		return nil, artifactFault(err)
	}
	if image.DecompressedSHA256 == "" {
		return plain, nil // it checks itself
	}
	return &checked{ReadCloser: plain, digest: sha256.New(), image: image}, nil
}

type checked struct {
	io.ReadCloser
	digest hash.Hash
	image  swu.Image
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.digest.Write(p[:n])
	if err == io.EOF {
		if wrong := checkDigest(c.image, hex.EncodeToString(c.digest.Sum(nil))); wrong != nil {
			err = wrong
		}
	}
	return n, err
}

func checkDigest(image swu.Image, digest string) error {
	if want := image.DecompressedSHA256; want != "" && want != digest {
		return ota.NewPermanent(ota.CodeArtifactHash,
			fmt.Errorf("cannot install image %q: it unpacks to sha256 %s, %s was signed", image.Filename, digest, want))
	}
	return nil
}
