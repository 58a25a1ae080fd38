package install

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"otad/ota"
	"otad/ota/swu"
)

// An artifact can bring certificates to trust. They wait beside those that
// count, so that a system on trial cannot change whom the box believes: the
// agent calls [Promote] once the new system is confirmed, and [Discard] when it
// was rolled back or before another install. An anchor goes away when a file of
// the same name takes its place.

// pendingName is the directory in a trust directory where files wait. It
// begins with a dot, so that a reader of "*.pem" does not see it.
const pendingName = ".pending"

// maxTrustBytes bounds a bundle, which is held in memory.
const maxTrustBytes = 64 << 10

// checkTrust demands that a bundle for a trust directory can be read there, for
// a box whose trust cannot be read takes no update any more.
func (p *Plan) checkTrust(w work) error {
	switch {
	case w.image.Type != swu.TypeRawFile || strings.Contains(w.name, "/") || strings.HasPrefix(w.name, "."):
		return unsupported(w.image, "more than one plain file for the trust directory")
	case w.image.Compressed != "" || w.image.Encrypted != "":
		return unsupported(w.image, "a trust bundle that is compressed or encrypted")
	case p.archive == nil:
		return nil // once it has come
	}
	if _, ok := p.archive.Entry(w.image.Filename); !ok {
		return nil // the verification will say so
	}
	return p.checkBundle(w)
}

// checkBundle looks into the bundle.
func (p *Plan) checkBundle(w work) error {
	b, err := io.ReadAll(io.LimitReader(p.payload(w.image.Filename), maxTrustBytes+1))
	if err != nil {
		return err
	}
	if len(b) > maxTrustBytes {
		return unsupported(w.image, fmt.Sprintf("a trust bundle that is larger than %d bytes", maxTrustBytes))
	}
	if _, err := swu.ParseTrust(b); err != nil {
		return ota.NewPermanent(ota.CodeArtifactUnsupported,
			fmt.Errorf("cannot install %q into the trust directory: %w", w.image.Filename, err))
	}
	return nil
}

// Promote makes the bundles that wait in a trust directory count. It may be
// called again after a crash; with nothing waiting it does nothing. A box that
// loads the directory afterwards trusts them.
func Promote(directory string) error {
	return eachPending(directory, func(root *os.Root, name string) error {
		return root.Rename(path.Join(pendingName, name), name)
	})
}

// Discard removes the bundles that wait in a trust directory.
func Discard(directory string) error {
	return eachPending(directory, func(root *os.Root, name string) error {
		return root.Remove(path.Join(pendingName, name))
	})
}

func eachPending(directory string, do func(root *os.Root, name string) error) error {
	fault := func(err error) error {
		return fmt.Errorf("cannot change trust directory %q: %w", directory, err)
	}
	root, err := os.OpenRoot(directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault(err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), pendingName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), aside) {
			err = root.Remove(path.Join(pendingName, e.Name()))
		} else {
			err = do(root, e.Name())
		}
		if err != nil {
			return fault(err)
		}
	}
	// The new names first, then what held the old ones.
	if err := errors.Join(syncDirectory(root, "."), syncDirectory(root, pendingName), root.Remove(pendingName), syncDirectory(root, ".")); err != nil {
		return fault(err)
	}
	return nil
}
